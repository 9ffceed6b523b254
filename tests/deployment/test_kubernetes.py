"""The Kubernetes manifests: valid for the API server, hardened, and telling the services what they know."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
HOME = CHECKOUT / "deploy/kubernetes"
KUBERNETES = "1.31"
BUDGETS_S = {"inference": 20, "trainer": 60, "exit-strategy": 20, "api": 20}


def _documents():
    for path in sorted(HOME.glob("*/*.yaml")):
        if path.name != "kustomization.yaml":
            for number, document in enumerate(yaml.safe_load_all(path.read_text())):
                yield pytest.param(document, id=f"{path.parent.name}/{path.stem}-{number}-{document['kind']}")


def _found(kind):
    return [parameter.values[0] for parameter in _documents() if parameter.values[0]["kind"] == kind]


def _kustomization(name):
    return yaml.safe_load((HOME / name / "kustomization.yaml").read_text())


def _literals(name):
    [generated] = _kustomization(name)["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


WORKERS = {each["metadata"]["name"]: each for kind in ("Deployment", "StatefulSet") for each in _found(kind)}
PODS = {name: each["spec"]["template"] for name, each in WORKERS.items()} | {
    each["metadata"]["name"]: each["spec"]["template"] for each in _found("Job")
}


@pytest.mark.parametrize("document", list(_documents()))
def test_the_api_server_would_take_it(document):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_little(name):
    pod = PODS[name]["spec"]
    [container] = pod["containers"]
    may = container["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert may["readOnlyRootFilesystem"]
    assert not may["allowPrivilegeEscalation"]
    assert may["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert (
        {"cpu", "memory"} == set(container["resources"]["limits"]) == set(container["resources"]["requests"])
    )
    assert pod["serviceAccountName"] in {each["metadata"]["name"] for each in _found("ServiceAccount")}


@pytest.mark.parametrize("name", WORKERS)
def test_it_is_asked_whether_it_lives_and_works_on_the_port_of_its_image(name):
    [container] = PODS[name]["spec"]["containers"]
    dockerfile = (CHECKOUT / f"deploy/images/{name}.Dockerfile").read_text()

    assert container["image"] == f"flotilla/{name}"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert f"EXPOSE {container['ports'][0]['containerPort']}\n" in dockerfile


@pytest.mark.parametrize(("name", "budget_s"), BUDGETS_S.items())
def test_it_has_the_time_to_finish_what_it_began(name, budget_s):
    assert PODS[name]["spec"]["terminationGracePeriodSeconds"] > budget_s


@pytest.mark.parametrize("name", WORKERS)
def test_a_drained_node_does_not_take_all_of_them(name):
    [budget] = [each for each in _found("PodDisruptionBudget") if each["metadata"]["name"] == name]

    assert budget["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    assert ("minAvailable" in budget["spec"]) == (name != "trainer")


def test_volumes_are_written_by_those_whose_images_may():
    writable = {
        (name, mount["mountPath"])
        for name, pod in PODS.items()
        for mount in pod["spec"]["containers"][0]["volumeMounts"]
        if not mount.get("readOnly") and mount["name"] != "tmp"
    }

    assert writable == {("trainer", "/models"), ("trainer", "/datasets"), ("exit-strategy", "/spool")}


def test_every_manifest_is_listed_and_every_image_has_a_version():
    base, platform = _kustomization("base"), _kustomization("platform")

    assert set(base["resources"]) == {path.name for path in (HOME / "base").glob("*.yaml")} - {
        "kustomization.yaml"
    }
    assert {each["name"] for each in platform["images"]} == {
        pod["spec"]["containers"][0]["image"] for pod in PODS.values()
    }


@pytest.mark.parametrize("name", ["base", "platform"])
def test_every_variable_is_a_setting(name):
    known = (CHECKOUT / ".env.example").read_text()
    for variable in _literals(name):
        assert re.search(rf"^#{variable.removesuffix('_FILE')}=", known, re.MULTILINE), variable
        assert not re.search(r"PASSWORD|KEY", variable) or variable.endswith("_FILE")


def test_a_service_finds_each_secret_where_its_variable_says():
    [secrets] = _kustomization("platform")["secretGenerator"]
    kept = {Path(each).name for each in secrets["files"]}
    told = {Path(value).name for variable, value in _literals("base").items() if variable.endswith("_FILE")}
    mounted = {
        item["key"]
        for pod in PODS.values()
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "secrets"
        for item in volume["secret"]["items"]
        if item["key"] == item["path"]
    }

    assert kept == told == mounted


def test_nobody_comes_in_but_to_the_api_and_the_metrics():
    fleet, api = _found("NetworkPolicy")

    assert fleet["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all("from" in rule for rule in fleet["spec"]["ingress"])
    assert api["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "api"}}
    assert [
        each["metadata"]["name"] for each in _found("Service") if each["spec"].get("clusterIP") != "None"
    ] == ["model-service"]
