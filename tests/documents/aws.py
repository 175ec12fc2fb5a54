"""A simulated AWS for the commands of the pages: moto, and what deploy/cloudformation has that moto does not make of a template.

    aws.py PORT          on 127.0.0.1, until it is ended

Its CloudFormation makes the resources that it knows and passes over the others: of our templates the subnet and parameter
groups of ElastiCache, bucket policies, and targets and policies of scaling, whose properties cfn-lint has looked at.
"""

import secrets
import sys

from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends


class Made(CloudFormationModel):
    """A resource of a template; its properties are in `given`."""

    __module__ = "moto.templates"  # moto asks which of its services a class is of

    def __init__(self, name, given, account, region):
        self.name, self.given, self.account, self.region = name, given, account, region

    @staticmethod
    def cloudformation_name_type():
        return None

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        return cls(resource_name, cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        pass


class Secret(Made, CloudFormationModel):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html"""

    __module__ = Made.__module__

    def __init__(self, *given):
        super().__init__(*given)
        wanted = self.given.get("GenerateSecretString")
        text = secrets.token_hex(wanted["PasswordLength"] // 2) if wanted else self.given["SecretString"]
        secretsmanager_backends[self.account][self.region].create_secret(
            name=self.name, secret_string=text, secret_binary=None, description=self.given.get("Description"), tags=[],
            kms_key_id=None, client_request_token=None, replica_regions=[], force_overwrite=False,
        )

    @staticmethod
    def cloudformation_type():
        return "AWS::SecretsManager::Secret"

    @property
    def physical_resource_id(self):
        return secretsmanager_backends[self.account][self.region].describe_secret(self.name).arn


class ReplicationGroup(Made, CloudFormationModel):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-elasticache-replicationgroup.html"""

    __module__ = Made.__module__

    @staticmethod
    def cloudformation_type():
        return "AWS::ElastiCache::ReplicationGroup"

    @property
    def physical_resource_id(self):
        return self.name

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr.startswith("PrimaryEndPoint.")

    def get_cfn_attribute(self, attribute_name):
        return {"PrimaryEndPoint.Address": f"master.{self.name}.cache.example.com", "PrimaryEndPoint.Port": "6379"}[attribute_name]


def main():
    # It looks once for what there is, so after the classes above.
    from moto.cloudformation import models, parsing
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    read = parsing.clean_json

    def with_whole_names(part, resources):
        """Of `${Postgres.Endpoint.Port}` moto would ask for the attribute `Endpoint`."""
        if isinstance(part, dict) and isinstance(part.get("Fn::GetAtt"), list):
            name, *attribute = part["Fn::GetAtt"]
            part = {"Fn::GetAtt": [name, ".".join(attribute)]}
        return read(part, resources)

    parsing.clean_json = with_whole_names
    apply = models.ChangeSet.apply

    def with_outputs(change_set):
        """The stack would go on without what its template says of outputs."""
        apply(change_set)
        change_set.stack.template_dict = change_set.template_dict
        change_set.stack.output_map = change_set.stack._create_output_map()

    models.ChangeSet.apply = with_outputs
    run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)


if __name__ == "__main__":
    main()
