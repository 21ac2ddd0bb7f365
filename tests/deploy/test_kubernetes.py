"""The manifests: complete, agreeing with each other, the images and the settings, and with no rights to spare.

scripts/kubernetes-check.sh renders them, and holds them against Kubernetes' own schemas.
"""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
FILES = {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in BASE.glob("*.yaml")}
OBJECTS = {
    (content["kind"], content["metadata"]["name"]): content
    for name, content in FILES.items()
    if name != "kustomization.yaml"
}
DEPLOYMENTS = [content for (kind, _), content in OBJECTS.items() if kind == "Deployment"]


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return only


def test_kustomize_takes_every_file_and_names_both_images() -> None:
    listed = FILES["kustomization.yaml"]
    assert set(listed["resources"]) == FILES.keys() - {"kustomization.yaml"}
    assert {image["name"] for image in listed["images"]} == {container(each)["image"] for each in DEPLOYMENTS}
    assert {kind for kind, _ in OBJECTS} == {
        "ConfigMap",
        "Deployment",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Secret",
        "Service",
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["metadata"]["name"])
def test_a_pod_has_no_rights_to_spare(deployment: dict[str, Any]) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user
    context = pod(deployment)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert [str(context["runAsUser"]), str(context["runAsGroup"])] == list(user.groups())
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(deployment)["automountServiceAccountToken"] is False
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container(deployment)["resources"]["limits"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["metadata"]["name"])
def test_what_a_pod_names_is_there(deployment: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    sources = container(deployment)["envFrom"]
    assert ("ConfigMap", sources[0]["configMapRef"]["name"]) in OBJECTS
    assert ("Secret", sources[1]["secretRef"]["name"]) in OBJECTS
    volumes = {volume["name"]: volume for volume in pod(deployment)["volumes"]}
    assert ("PersistentVolumeClaim", volumes["data"]["persistentVolumeClaim"]["claimName"]) in OBJECTS
    mounts = {mount["mountPath"]: mount["name"] for mount in container(deployment)["volumeMounts"]}
    assert mounts == {"/data": "data", "/tmp": "tmp"}
    # The data folder has one lock for each: two pods at once would wait for each other.
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_a_service_called_inkling_sets_no_setting() -> None:
    """Kubernetes would put INKLING_PORT=tcp://... into every pod, and the API would not start."""
    assert ("Service", "inkling") in OBJECTS
    assert all(pod(each)["enableServiceLinks"] is False for each in DEPLOYMENTS)


def test_the_service_and_the_budget_find_the_api() -> None:
    labels = OBJECTS["Deployment", "inkling-api"]["spec"]["template"]["metadata"]["labels"]
    service, budget = OBJECTS["Service", "inkling"]["spec"], OBJECTS["PodDisruptionBudget", "inkling-api"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container(OBJECTS["Deployment", "inkling-api"])["ports"]}
    assert ports[service["ports"][0]["targetPort"]] == Settings(_env_file=None).port  # type: ignore[call-arg]


def test_probes_ask_what_there_is() -> None:
    api = container(OBJECTS["Deployment", "inkling-api"])
    asked = [api[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert asked == ["/health/live", "/health/live", "/health/ready"]
    worker = container(OBJECTS["Deployment", "inkling-worker"])
    assert worker["livenessProbe"]["exec"]["command"] == [*worker["command"], "--check"]


def test_the_settings_are_settings() -> None:
    names = {f"INKLING_{name.upper()}" for name in Settings.model_fields}
    config, secret = OBJECTS["ConfigMap", "inkling"]["data"], OBJECTS["Secret", "inkling"]
    assert config.keys() | secret["stringData"].keys() <= names
    assert all(isinstance(value, str) for value in config.values())
    assert not any(secret["stringData"].values())  # an example, not somebody's password
    assert not any(base64.b64decode(value) for value in secret.get("data", {}).values())


# -- the cluster: changes to the base ----------------------------------------------------------------------------------

CLUSTER = BASE.parent / "cluster"
CHANGES = {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in CLUSTER.glob("*.yaml")}


def test_the_cluster_takes_every_file_and_changes_what_there_is() -> None:
    listed = CHANGES["kustomization.yaml"]
    patches = {patch["path"] for patch in listed["patches"] if "path" in patch}
    assert listed["resources"] == ["../base", "autoscaler.yaml"]
    assert patches == CHANGES.keys() - {"kustomization.yaml", "autoscaler.yaml"}
    for patch in patches:
        content = CHANGES[patch]
        assert (content["kind"], content["metadata"]["name"]) in OBJECTS, patch
    for deployment in ("api.yaml", "worker.yaml"):
        (changed,) = pod(CHANGES[deployment])["containers"]
        name = CHANGES[deployment]["metadata"]["name"]
        assert changed["name"] == container(OBJECTS["Deployment", name])["name"]
        assert CHANGES[deployment]["spec"]["strategy"]["type"] == "RollingUpdate"


def test_the_cluster_is_several_over_one_database_and_volume() -> None:
    names = {f"INKLING_{name.upper()}" for name in Settings.model_fields}
    config, secret = CHANGES["config.yaml"]["data"], CHANGES["secret.yaml"]["stringData"]
    assert config.keys() | secret.keys() <= names
    settings = {name.removeprefix("INKLING_").lower(): value for name, value in {**config, **secret}.items()}
    made = Settings(**settings)  # type: ignore[arg-type]
    assert made.database_is_shared
    assert made.launcher == "ray"
    assert CHANGES["volume.yaml"]["spec"]["accessModes"] == ["ReadWriteMany"]
    autoscaler = CHANGES["autoscaler.yaml"]["spec"]
    assert ("Deployment", autoscaler["scaleTargetRef"]["name"]) in OBJECTS
    assert autoscaler["minReplicas"] >= 2
    assert CHANGES["worker.yaml"]["spec"]["replicas"] >= 2
    # The autoscaler's number is not set back at every `apply`.
    removed = [yaml.safe_load(each["patch"]) for each in CHANGES["kustomization.yaml"]["patches"] if "patch" in each]
    assert removed == [[{"op": "remove", "path": "/spec/replicas"}]]
    # What a share of the processor is reckoned by.
    assert "cpu" in container(OBJECTS["Deployment", "inkling-api"])["resources"]["requests"]
