"""deploy/cloudformation: linted, held to what `iam-policy` prints, and checked for numbers that have to fit together."""

import copy
import json
import os
import shutil

import policies
import image
from conftest import ROOT, defaults, longest_end, run, tool

FOLDER = ROOT / "deploy/cloudformation"
TEXT = (FOLDER / "gateway.yaml").read_text()
TEMPLATE = policies.load(TEXT)
STORES = policies.load((FOLDER / "stores.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
# Other values than those that policies.py works with.
ACCOUNT = "123456123456"
VALUES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "Bucket": "some-bucket",
    "BatchRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/some-role",
    "TaskRole": "task",
    "BatchRole": "batch",
    "LoadBalancerCidrs": "10.0.0.0/24,10.0.1.0/24",
    "AdminKeySha256": "",
    "Image": "image",
}


def properties(name):
    return policies.resolve(RESOURCES[name]["Properties"], VALUES)


def container():
    (only,) = properties("TaskDefinition")["ContainerDefinitions"]
    return only


def environment():
    return {entry["Name"]: entry["Value"] for entry in container()["Environment"]}


def attributes(name, key):
    return {entry["Key"]: entry["Value"] for entry in properties(name)[key]}


def printed(program):
    """What the program prints for the settings of the container, with these values."""
    command = [program, "iam-policy", "--account", ACCOUNT, "--models", TEMPLATE["Metadata"]["Models"]]
    done = run(*command, env={"PATH": os.environ["PATH"], **environment()})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def attached(role):
    """The documents of the managed policies that the role has, and no others."""
    found = [properties(name) for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::ManagedPolicy"]
    return [policy["PolicyDocument"] for policy in found if policy["Roles"] == [role]]


def test_the_linter_finds_nothing(tmp_path):
    done = run(tool("cfn-lint"), "--", *map(str, sorted(FOLDER.glob("*.yaml"))))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    wrong = tmp_path / "template.yaml"
    wrong.write_text(TEXT.replace("StopTimeout: 120", "StopTimeout: soon"))
    assert run(tool("cfn-lint"), "--", str(wrong)).returncode != 0


def test_the_roles_and_the_bucket_allow_what_iam_policy_prints(program):
    needed = printed(program)
    again = "run: python3 deploy/cloudformation/policies.py --program target/debug/bedrock-gateway"
    assert attached("task") == list(needed["caller"].values()), again
    assert attached("batch") == list(needed["batch_role"]["permissions"].values()), again
    assert properties("BatchRole")["AssumeRolePolicyDocument"] == needed["batch_role"]["trust"]
    bucket = properties("BucketPolicy")
    assert {bucket["Bucket"]: bucket["PolicyDocument"]} == needed["bucket"]
    assert not {"caller_trust", "base"} & set(needed)
    for role in ("TaskRole", "BatchRole"):
        assert set(RESOURCES[role]["Properties"]) == {"AssumeRolePolicyDocument"}, "allows more"


def test_roles_are_taken_for_this_account_alone():
    for role in ("TaskRole", "BatchRole", "ExecutionRole"):
        for statement in properties(role)["AssumeRolePolicyDocument"]["Statement"]:
            assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT
            assert ACCOUNT in statement["Condition"]["ArnLike"]["aws:SourceArn"]


def test_another_model_is_another_policy(program, tmp_path):
    shutil.copy(FOLDER / "policies.py", tmp_path)
    template = tmp_path / "gateway.yaml"
    command = [tool("python"), str(tmp_path / "policies.py"), "--program", program]
    template.write_text(TEXT)
    assert run(*command, "--check").returncode == 0
    template.write_text(TEXT.replace("Models: claude-haiku-4-5,", "Models: claude-opus-4-5,"))
    assert run(*command, "--check").returncode == 1
    assert run(*command).returncode == 0
    changed = policies.load(template.read_text())
    assert "claude-opus-4-5" in json.dumps(changed["Resources"]["CallerPolicy1"])
    assert run(*command, "--check").returncode == 0


def test_the_gateway_takes_the_settings_of_the_container(config_check):
    secrets = {
        "BEDROCK_GATEWAY__STORE__URL": "postgres://gateway:secret@db:5432/gateway?sslmode=require",
        "BEDROCK_GATEWAY__SHARED__URL": "rediss://default:secret@valkey:6379",
        "BEDROCK_GATEWAY__AUTH__SEALING_KEY": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    }
    asked = json.dumps(container()["Secrets"])
    assert all(f'"{name}"' in asked for name in secrets) and asked.count("BEDROCK_GATEWAY__") == len(secrets)
    assert config_check(image.environment() | environment() | secrets) == ""
    assert config_check(environment() | {"BEDROCK_GATEWAY__AUTH__ADMIN_KEY_SHA256": "f" * 64}) == ""
    assert "regions" in config_check(environment() | {"BEDROCK_GATEWAY__AWS__REGIONS": "us-east-9"})


def test_the_bucket_is_private_encrypted_and_swept():
    bucket = properties("Bucket")
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4 and all(bucket["PublicAccessBlockConfiguration"].values())
    assert bucket["BucketEncryption"]
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["old-files"]["ExpirationInDays"] * 24 > defaults()["batch"]["retention_hours"]
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"]
    assert RESOURCES["Bucket"]["DeletionPolicy"] == "Retain"


def test_a_task_may_end_its_streams_before_it_is_killed():
    own = {"drain_seconds": int(environment()["BEDROCK_GATEWAY__SERVER__DRAIN_SECONDS"])}
    assert longest_end(own) <= container()["StopTimeout"] <= 120, "Fargate gives no more"


def test_the_load_balancer_waits_as_long_as_a_call_may_be_silent():
    idle = int(attributes("LoadBalancer", "LoadBalancerAttributes")["idle_timeout.timeout_seconds"])
    assert idle > max(defaults()["aws"][key] for key in ("call_timeout_s", "first_byte_timeout_s", "idle_timeout_s"))
    assert int(environment()["BEDROCK_GATEWAY__SERVER__KEEP_ALIVE_S"]) > idle, "it would send into closed connections"
    assert attributes("TargetGroup", "TargetGroupAttributes")["deregistration_delay.timeout_seconds"] == "900"


def test_a_deployment_that_fails_goes_back_and_one_that_works_takes_nothing_away_first():
    deployment = properties("Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)


def test_ports_and_paths_are_those_of_the_image():
    client, ops = (int(address.rsplit(":", 1)[1]) for address in image.environment().values())
    target = properties("TargetGroup")
    assert (target["Port"], target["HealthCheckPort"], target["HealthCheckPath"]) == (client, str(ops), "/readyz")
    assert {port["ContainerPort"] for port in container()["PortMappings"]} == {client, ops}
    (balancer,) = properties("Service")["LoadBalancers"]
    assert (balancer["ContainerName"], balancer["ContainerPort"]) == (container()["Name"], client)
    assert container()["HealthCheck"]["Command"] == ["CMD", *image.health_command()]
    (mount,) = container()["MountPoints"]
    assert mount["ContainerPath"] == image.last(image.stages()[-1], "VOLUME") == environment()["TMPDIR"]
    assert container()["ReadonlyRootFilesystem"] is True
    opened = [(rule["FromPort"], rule.get("CidrIp")) for rule in properties("TaskSecurityGroup")["SecurityGroupIngress"]]
    assert opened == [(client, None), (ops, None)], "open to more than the load balancer"


def test_a_template_is_short_enough_to_be_sent_with_the_call():
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"""
    assert all(path.stat().st_size < 51_200 for path in FOLDER.glob("*.yaml"))


def test_the_stores_tell_what_the_gateway_asks_for():
    assert set(STORES["Outputs"]) <= set(TEMPLATE["Parameters"])
    stores = copy.deepcopy(STORES["Resources"])
    assert stores["Postgres"]["Properties"]["StorageEncrypted"] and stores["Valkey"]["Properties"]["TransitEncryptionEnabled"]
    settings = stores["ValkeySettings"]["Properties"]["Properties"]
    assert settings == {"maxmemory-policy": "noeviction"}
