"""Holds what `iam-policy` prints to a policy linter, and its actions and resources to AWS's own reference.

    lint.py path/to/bedrock-gateway

parliament judges the grammar, the conditions' types and what is granted too widely; its list of Bedrock's actions is of
early 2025, so which actions exist and on which resources they act is asked of policy_sentry's copy of the reference.
"""

import fnmatch
import json
import logging
import os
import re
import subprocess
import sys
import tempfile

logging.disable(logging.WARNING)

import parliament  # noqa: E402
from policy_sentry.querying.actions import get_action_data  # noqa: E402

LIMIT = 6144
ROLE = "arn:aws:iam::000000000000:role/role"
ACCOUNT = "000000000000"
# Looked up in policy_sentry's newer list instead.
ASKED_ELSEWHERE = {"UNKNOWN_ACTION", "RESOURCE_MISMATCH", "UNKNOWN_CONDITION_FOR_ACTION"}
# Of parliament's: a matter of taste about a statement, not a fault of it.
TASTE = {"RESOURCE_EFFECTIVELY_STAR", "PERMISSIONS_MANAGEMENT_ACTIONS"}

BATCH = """
[batch]
bucket = {{ {region} = "my-bucket" }}
role_arn = "arn:{partition}:iam::000000000000:role/bedrock-batch"
"""
COMMERCIAL = [
    f"{place}-{number}" for place, numbers in {
        "af-south": "1", "ap-east": "2", "ap-northeast": "123", "ap-south": "12", "ap-southeast": "1234567",
        "ca-central": "1", "ca-west": "1", "eu-central": "12", "eu-north": "1", "eu-south": "12", "eu-west": "123",
        "il-central": "1", "mx-central": "1", "sa-east": "1", "us-east": "12", "us-west": "12",
    }.items() for number in numbers
]
CASES = {
    "defaults": ("", []),
    "every profile": ("", ["--every-profile"]),
    "a role, a key, batch": (
        '[aws]\nrole_arn = "arn:aws:iam::000000000000:role/gateway"\n' + BATCH.format(region="us-east-1", partition="aws"),
        ["--kms-key", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1", "--team-roles", f"arn:aws:iam::{ACCOUNT}:role/team",
         "--base-identity", f"arn:aws:iam::{ACCOUNT}:role/pod"],
    ),
    "some models, far apart": (
        '[aws]\nregions = ["eu-west-2", "ap-southeast-2", "us-east-1"]\n',
        ["--models", "claude-haiku-4-5,nova-lite,amazon.titan-embed-text-v2:0"],
    ),
    # So many that the conditions alone are longer than a policy.
    "thirty Regions": (f"[aws]\nregions = {json.dumps(COMMERCIAL)}\n", []),
    "GovCloud": (
        '[aws]\nregions = ["us-gov-west-1"]\n' + BATCH.format(region="us-gov-west-1", partition="aws-us-gov"), [],
    ),
}


def generate(binary, config, arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        command = [binary, "iam-policy", "--config", file.name, "--account", ACCOUNT, *arguments]
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def identity_policies(policies):
    documents = {**policies["caller"], **policies.get("base", {}), **policies["doctor"]}
    documents.update((policies.get("batch_role") or {}).get("permissions", {}))
    return documents


def resource_policies(policies):
    documents = dict(policies.get("bucket", {}))
    for name, document in [("caller_trust", policies.get("caller_trust")),
                           ("batch trust", (policies.get("batch_role") or {}).get("trust"))]:
        if document:
            # parliament knows no trust policies: their resource is the role they are on.
            documents[name] = {**document, "Statement": [{**one, "Resource": ROLE} for one in document["Statement"]]}
    return documents


def pattern(arn):
    """`arn:${Partition}:bedrock:${Region}::foundation-model/${ResourceId}` as a pattern that matches its ARNs."""
    return re.sub(r"\$\{\w+\}", "*", arn)


def check_reference(name, document):
    """Every action exists, and acts on at least one resource of its statement; every resource is one of an action."""
    for statement in document["Statement"]:
        known = set()
        for action in statement["Action"]:
            service, verb = action.split(":")
            if verb == "*":
                return
            data = get_action_data(service, verb)
            assert data, f"{name}: AWS's reference knows no action {action}"
            formats = {pattern(entry["resource_arn_format"]) for entry in data[service]}
            known |= formats
            wanted = statement.get("Resource", ["*"])
            assert wanted == ["*"] and "*" in formats or any(
                fnmatch.fnmatchcase(arn, form) for arn in wanted for form in formats - {"*"}
            ), f"{name}: {action} acts on none of {wanted[:3]}"
        if statement["Action"] == ["bedrock:CountTokens"]:
            # The reference lists models only; the gateway counts by the id that it calls, which may be a profile's.
            known.add("arn:*:bedrock:*:*:*inference-profile/*")
        for arn in statement.get("Resource", []):
            assert any(fnmatch.fnmatchcase(arn, form) for form in known), f"{name}: no action acts on {arn}"


def whole(documents):
    """Statements that were split for their length, put together again: a part alone may lack what an action acts on."""
    statements = {}
    for statement in (one for document in documents.values() for one in document["Statement"]):
        first = statements.setdefault((statement["Sid"], *statement["Action"]), {**statement, "Resource": []})
        first["Resource"] += [arn for arn in statement["Resource"] if arn not in first["Resource"]]
    return {"Statement": list(statements.values())}


def check_grammar(name, document):
    text = json.dumps(document)
    analyzed = parliament.analyze_policy_string(text)
    found = [finding for finding in analyzed.findings if finding.issue not in ASKED_ELSEWHERE | TASTE]
    assert not found, f"{name}: " + "; ".join(str(finding) for finding in found)


def refuses(check, statement):
    """The check itself works: it does not pass what is wrong."""
    try:
        check("broken", {"Version": "2012-10-17", "Statement": [statement]})
    except AssertionError:
        return
    raise SystemExit(f"error: {check.__name__} passes {statement}")


def main(binary):
    total = 0
    for case, (config, arguments) in CASES.items():
        policies = generate(binary, config, arguments)
        for name, document in identity_policies(policies).items():
            size = len(re.sub(r"\s", "", json.dumps(document)))
            assert size <= LIMIT, f"{case}: {name} has {size} characters"
            check_grammar(f"{case}: {name}", document)
            total += 1
        check_reference(case, whole(identity_policies(policies)))
        for name, document in resource_policies(policies).items():
            check_grammar(f"{case}: {name}", document)
            total += 1
    refuses(check_grammar, {"Effect": "Allow", "Action": ["bedrock:InvokeModel"], "Resource": ["not-an-arn"]})
    refuses(check_reference, {"Effect": "Allow", "Action": ["bedrock:InvokeModell"], "Resource": ["*"]})
    refuses(check_reference, {"Effect": "Allow", "Action": ["bedrock:ApplyGuardrail"], "Resource": ["arn:aws:s3:::bucket"]})
    print(f"{total} policies of {len(CASES)} configurations are sound.")


if __name__ == "__main__":
    main(sys.argv[1])
