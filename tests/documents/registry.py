"""A registry that takes the name and the password that the simulated AWS gives for its own, as ECR does.

    registry.py PORT AWS FOLDER          on 127.0.0.1, until it is ended; AWS is an address, what is pushed goes to FOLDER

It is docker-registry with htpasswd's file of passwords (Debian's packages docker-registry and apache2-utils), without TLS: Docker
takes that from 127.0.0.0/8 alone. Unlike ECR it takes what is pushed to a repository that nobody has made.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.config import Config


def main():
    port, aws, folder = sys.argv[1:]
    # Which may not be up yet.
    ecr = boto3.client(
        "ecr", endpoint_url=aws, region_name="us-east-1", aws_access_key_id="AKIDMOTO", aws_secret_access_key="not-a-real-key",
        config=Config(retries={"mode": "standard", "total_max_attempts": 20}),
    )
    (given,) = ecr.get_authorization_token()["authorizationData"]
    name, password = base64.b64decode(given["authorizationToken"]).decode().split(":", 1)
    # -B: bcrypt, which is all that it takes.
    line = subprocess.run(["htpasswd", "-inB", name], input=password, capture_output=True, text=True, check=True).stdout
    passwords, settings = Path(folder, "passwords"), Path(folder, "settings.yml")
    passwords.write_text(line)
    said = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": f"{folder}/pushed"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "ECR", "path": str(passwords)}},
    }
    settings.write_text(json.dumps(said))  # which is YAML, too
    os.execvp("docker-registry", ["docker-registry", "serve", str(settings)])


if __name__ == "__main__":
    main()
