#!/usr/bin/env python3
"""Writes what IAM has to allow into gateway.yaml, as `bedrock-gateway iam-policy` prints it for the template's own settings.

usage: policies.py [--program PATH] [--check]

The settings are those of the template's container, the models those of its `Metadata: Models`. With --check nothing is
written: exit code 1 if the template says something else. Needs PyYAML.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

TEMPLATE = pathlib.Path(__file__).parent / "gateway.yaml"
BEGIN, END = "  # iam-policy: written by policies.py\n", "  # iam-policy: end\n"

# What the program is told, and what it is called in the template. As long as AWS lets names be: IAM counts characters, and
# what the program prints for these fits for every name.
ACCOUNT = "000000000000"
STAND_INS = {
    f"arn:aws:iam::{ACCOUNT}:role/{'stand-in-for-the-batch-role':-<64}": "${BatchRole.Arn}",
    f"{'stand-in-for-the-bucket':x<63}": "${Bucket}",
    ACCOUNT: "${AWS::AccountId}",
}
VALUES = {placeholder[2:-1]: value for value, placeholder in STAND_INS.items()}


class Loader(yaml.SafeLoader):
    """Reads `!Ref X`, `!Sub X`, ... as {"Ref": X}, {"Fn::Sub": X}, ..."""


def function(loader, tag, node):
    construct = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda node: loader.construct_sequence(node, deep=True),
        yaml.MappingNode: lambda node: loader.construct_mapping(node, deep=True),
    }[type(node)]
    return {"Ref" if tag == "Ref" else f"Fn::{tag}": construct(node)}


Loader.add_multi_constructor("!", function)


def load(text):
    return yaml.load(text, Loader)  # noqa: S506 a safe loader with tags of its own


def resolve(value, values):
    """The value with its references replaced; a parameter that has no value here is None."""
    if isinstance(value, list):
        return [resolve(item, values) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, argument), = value.items()
        if name == "Ref":
            return values.get(argument)
        if name == "Fn::GetAtt":
            return values.get(argument if isinstance(argument, str) else ".".join(argument))
        if name == "Fn::Sub" and isinstance(argument, str):
            return re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], argument)
    return {key: resolve(item, values) for key, item in value.items()}


def settings(template):
    """The environment of the template's container, as far as the program judges by it."""
    container, = template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    pairs = ((one["Name"], resolve(one["Value"], VALUES)) for one in container["Environment"])
    return {name: value for name, value in pairs if value is not None}


def printed(program, template):
    """What the program prints for the template."""
    command = [program, "iam-policy", "--account", ACCOUNT, "--models", template["Metadata"]["Models"]]
    environment = {"PATH": os.environ.get("PATH", ""), **settings(template)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def resources(policies):
    """The resources of the template that hold these policies."""
    batch = policies["batch_role"]
    (_, bucket), = policies["bucket"].items()
    made = {}
    for kind, documents in (("Caller", policies["caller"]), ("Batch", batch["permissions"])):
        role = {"Caller": "TaskRole", "Batch": "BatchRole"}[kind]
        for number, document in enumerate(documents.values(), 1):
            made[f"{kind}Policy{number}"] = {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {"Roles": [{"Ref": role}], "PolicyDocument": document},
            }
    made["BatchRole"] = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": batch["trust"]}}
    made["BucketPolicy"] = {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": bucket},
    }
    return made


def scalar(text):
    substituted = text
    for value, placeholder in STAND_INS.items():
        substituted = substituted.replace(value, placeholder)
    return ("!Sub " if substituted != text else "") + json.dumps(substituted)


def is_reference(value):
    return isinstance(value, dict) and set(value) == {"Ref"}


def lines(value, depth):
    """The value as lines of YAML."""
    pad = "  " * depth
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield f"{pad}- {scalar(item)}"
            elif is_reference(item):
                yield f"{pad}- !Ref {item['Ref']}"
            else:
                first, *rest = lines(item, depth + 1)
                yield f"{pad}- {first.strip()}"
                yield from rest
        return
    for key, item in value.items():
        if isinstance(item, str):
            yield f"{pad}{key}: {scalar(item)}"
        elif is_reference(item):
            yield f"{pad}{key}: !Ref {item['Ref']}"
        else:
            yield f"{pad}{key}:"
            yield from lines(item, depth + 1)


def written(text, policies):
    """The text of the template with these policies in it."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    block = "".join(f"{line}\n" for line in lines(resources(policies), 1))
    return "".join([before, BEGIN, block, END, after])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", default="bedrock-gateway", help="the program whose iam-policy is asked")
    arguments.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something would change")
    chosen = arguments.parse_args()
    text = TEMPLATE.read_text()
    new = written(text, printed(chosen.program, load(text)))
    if new == text:
        return
    if chosen.check:
        sys.exit(f"error: {TEMPLATE} does not allow what its settings need; run {sys.argv[0]}")
    TEMPLATE.write_text(new)


if __name__ == "__main__":
    main()
