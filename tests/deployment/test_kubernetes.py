"""The Kubernetes manifests: valid for the API server, hardened, and telling the services what they know."""

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from common import environment_file

CHECKOUT = Path(__file__).parents[2]
HOME = CHECKOUT / "deploy/kubernetes"
PRESETS = CHECKOUT / "deploy/presets"
PERMITTED = set(json.loads((CHECKOUT / "deploy/rabbitmq/permissions.json").read_text()))
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
    generated = _kustomization(name)["configMapGenerator"][0]
    return dict(literal.split("=", 1) for literal in generated["literals"])


EVERYTHING = {
    each["metadata"]["name"]: each["spec"]["template"]
    for kind in ("Deployment", "StatefulSet", "Job")
    for each in _found(kind)
}
OF_THE_SANDBOX = {"sandbox", "postgres", "rabbitmq"}
PODS = {name: each for name, each in EVERYTHING.items() if name not in OF_THE_SANDBOX}
WORKERS = set(PODS) - {"migrate"}


@pytest.mark.parametrize("document", list(_documents()))
def test_the_api_server_would_take_it(document):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_pod_may_do_little(name):
    pod = EVERYTHING[name]["spec"]
    [container] = pod["containers"]
    may = container["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == (999 if name in {"postgres", "rabbitmq"} else 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert may["readOnlyRootFilesystem"]
    assert not may["allowPrivilegeEscalation"]
    assert may["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert (
        {"cpu", "memory"} == set(container["resources"]["limits"]) == set(container["resources"]["requests"])
    )
    assert pod["serviceAccountName"] in {each["metadata"]["name"] for each in _found("ServiceAccount")}


@pytest.mark.parametrize("name", sorted(WORKERS))
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


@pytest.mark.parametrize("name", sorted(WORKERS))
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
    for name in ("base", "platform", "sandbox"):
        listed = set(_kustomization(name)["resources"]) - {"../base"}
        assert listed == {path.name for path in (HOME / name).glob("*.yaml")} - {"kustomization.yaml"}
    for name, others in (("platform", set()), ("sandbox", {"flotilla/sandbox"})):
        assert {each["name"] for each in _kustomization(name)["images"]} == others | {
            pod["spec"]["containers"][0]["image"] for pod in PODS.values()
        }


@pytest.mark.parametrize("name", ["platform", "sandbox"])
def test_no_variable_is_said_twice(name):
    generated = _kustomization(name)["configMapGenerator"][0]
    files = [environment_file.read(PRESETS / Path(each).name) for each in generated["envs"]]
    said = [variable for each in (*files, _literals(name)) for variable in each]

    assert len(said) == len(set(said))


def test_no_two_services_share_a_login_or_its_password():
    passwords, users = [], []
    for name, pod in PODS.items():
        own = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
        users.append(own["POSTGRES_USER"])
        passwords += [item["key"] for item in _items(pod) if item["path"].endswith("_password")]
        if name != "migrate":
            assert own["POSTGRES_USER"] == f"{own['RABBITMQ_USER']}_login"
            assert own["RABBITMQ_USER"] in PERMITTED

    assert len(users) == len(set(users)) == len(PODS)
    assert len(passwords) == len(set(passwords)) == 2 * len(PERMITTED) + 1


@pytest.mark.parametrize("name", ["base", "platform", "sandbox"])
def test_every_variable_is_a_setting(name):
    known = (CHECKOUT / ".env.example").read_text()
    for variable in _literals(name):
        assert re.search(rf"^#{variable.removesuffix('_FILE')}=", known, re.MULTILINE), variable
        assert not re.search(r"PASSWORD|KEY", variable) or variable.endswith("_FILE")


@pytest.mark.parametrize("overlay", ["platform", "sandbox"])
def test_a_service_finds_each_secret_where_its_variable_says(overlay):
    [secrets] = _kustomization(overlay)["secretGenerator"]
    kept = {Path(each).name for each in secrets["files"]}
    pods = PODS if overlay == "platform" else EVERYTHING
    told = {Path(value).name for variable, value in _literals("base").items() if variable.endswith("_FILE")}

    assert kept == {item["key"] for pod in pods.values() for item in _items(pod)}
    assert told == {item["path"] for pod in PODS.values() for item in _items(pod)}
    for name in OF_THE_SANDBOX & pods.keys():
        files = {
            Path(each["value"]).name
            for each in pods[name]["spec"]["containers"][0].get("env", ())
            if each["name"].endswith("_FILE")
        }
        assert files <= {item["path"] for item in _items(pods[name])}


def _items(pod):
    [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
    return volume["secret"]["items"]


def test_nobody_comes_in_but_to_the_api_and_the_metrics():
    fleet, api = _found("NetworkPolicy")

    assert fleet["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all("from" in rule for rule in fleet["spec"]["ingress"])
    assert api["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "api"}}
    reached = {
        each["metadata"]["name"] for each in _found("Service") if each["spec"].get("clusterIP") != "None"
    }
    assert reached - OF_THE_SANDBOX == {"model-service"}
