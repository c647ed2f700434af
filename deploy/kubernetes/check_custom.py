#!/usr/bin/env python3
"""check_custom.py OBJECTS CRD: checks the objects of a custom kind against its definition,
unknown fields included, which the API server would drop."""

import sys

import jsonschema
import yaml


def forbid_unknown(schema):
    if isinstance(schema, dict):
        if "properties" in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            forbid_unknown(part)
    elif isinstance(schema, list):
        for part in schema:
            forbid_unknown(part)


def main():
    with open(sys.argv[1], encoding="utf-8") as objects, open(sys.argv[2], encoding="utf-8") as crd:
        definition = yaml.safe_load(crd)["spec"]
        checked = [item for item in yaml.safe_load_all(objects)
                   if item["kind"] == definition["names"]["kind"]]
    versions = {version["name"]: version["schema"]["openAPIV3Schema"]
                for version in definition["versions"]}
    for item in checked:
        schema = versions[item["apiVersion"].rpartition("/")[2]]
        forbid_unknown(schema["properties"]["spec"])
        jsonschema.validate(item, schema)
        print(f"{item['kind']} {item['metadata']['name']}: valid")
    sys.exit(0 if checked else "no object of this kind")


if __name__ == "__main__":
    main()
