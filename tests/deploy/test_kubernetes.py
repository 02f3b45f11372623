"""The manifests are valid for Kubernetes, agree with each other and start a real worker."""

import copy
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from mdx.config import load_config
from rollout_farm.cli import main
from rollout_farm.config import WorkerConfig

FOLDER = Path(__file__).parent.parent.parent / "deploy/kubernetes"
MANIFESTS = ("farm.yaml", "farm-autoscaler.yaml")
VERSIONS = ("1.29", "1.33", "1.37")  # the oldest that clouds still run to the newest known


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def by_kind(kind: str) -> dict:
    [found] = [one for name in MANIFESTS for one in documents(name) if one["kind"] == kind]
    return found


def pod() -> dict:
    return by_kind("Deployment")["spec"]["template"]


def container() -> dict:
    [only] = pod()["spec"]["containers"]
    return only


def serve_arguments() -> list[str]:
    """Return the container's arguments as the kubelet expands them."""
    [slots] = container()["env"]
    assert slots["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"
    cores = container()["resources"]["limits"]["cpu"]
    return [text.replace(f"$({slots['name']})", cores) for text in container()["args"]]


def worker_config() -> WorkerConfig:
    return load_config(WorkerConfig, None, serve_arguments()[1:])


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def seconds(path: str) -> int:
    return by_kind("Deployment")["spec"]["template"]["spec"][path]


def test_every_manifest_file_is_checked() -> None:
    elsewhere = {"prometheus-adapter.yaml", "train-jobset.yaml"}  # below, and in test_training.py
    assert {path.name for path in FOLDER.iterdir()} == {*MANIFESTS, *elsewhere}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_valid(name: str, version: str) -> None:
    for document in documents(name):
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_the_validator_rejects_what_is_wrong() -> None:
    broken = copy.deepcopy(by_kind("Deployment"))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)
    broken = copy.deepcopy(by_kind("Service"))
    broken["spec"]["ports"][0]["port"] = "grpc"
    with pytest.raises(kubernetes_validate.ValidationError, match="'grpc' is not of type"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_all_objects_live_in_the_namespace_of_the_farm() -> None:
    namespace = by_kind("Namespace")["metadata"]["name"]
    for name in MANIFESTS:
        for document in documents(name):
            if document["kind"] != "Namespace":
                assert document["metadata"]["namespace"] == namespace


def test_every_selector_finds_the_pods() -> None:
    labels = pod()["metadata"]["labels"].items()
    selectors = [
        by_kind("Deployment")["spec"]["selector"]["matchLabels"],
        by_kind("Service")["spec"]["selector"],
        by_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        by_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in pod()["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


def test_the_service_resolves_to_the_workers_themselves() -> None:
    assert by_kind("Service")["spec"]["clusterIP"] == "None"


def test_ports_agree_everywhere_with_what_the_worker_listens_on() -> None:
    config = worker_config()
    served = {"grpc": port_of(config.listen), "metrics": port_of(config.metrics_listen)}
    assert {port["name"]: port["containerPort"] for port in container()["ports"]} == served
    service = by_kind("Service")["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in service} == served
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[probe]["grpc"]["port"] == served["grpc"]
    trainers, prometheus = by_kind("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in trainers["ports"]] == [served["grpc"]]
    assert [port["port"] for port in prometheus["ports"]] == [served["metrics"]]
    scraped = pod()["metadata"]["annotations"]["prometheus.io/port"]
    assert int(scraped) == served["metrics"]


def test_the_worker_takes_the_arguments() -> None:
    command, *rest = serve_arguments()
    printed = CliRunner().invoke(main, [command, "--print-config", *rest])
    assert printed.exit_code == 0, printed.output
    assert yaml.safe_load(printed.output)["num_slots"] == int(
        container()["resources"]["limits"]["cpu"]
    )


def test_a_stopping_pod_has_time_to_drain() -> None:
    assert seconds("terminationGracePeriodSeconds") >= worker_config().drain_s + 10


def test_a_slot_has_a_core_and_memory_for_its_script() -> None:
    resources = container()["resources"]
    assert resources["requests"] == resources["limits"]
    cores = int(resources["limits"]["cpu"])
    memory = int(resources["limits"]["memory"].removesuffix("Gi")) << 10
    in_memory = sum(
        int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi"))
        for volume in pod()["spec"]["volumes"]
        if "emptyDir" in volume
    )
    assert memory >= cores * (1024 + 110) + 60 + 128 + in_memory  # 128: the cache of results


def test_the_pod_keeps_to_the_restricted_profile_and_more() -> None:
    labels = by_kind("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all({"emptyDir", "secret"} & volume.keys() for volume in spec["volumes"])


def test_every_mount_has_its_volume_and_the_token_is_where_the_worker_reads_it() -> None:
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert {mounts["tmp"], mounts["shm"]} == {"/tmp", "/dev/shm"}
    token = Path(worker_config().security.token_file)
    assert str(token.parent) == mounts["token"]
    named = f"create secret generic {volumes['token']['secret']['secretName']} "
    command = next(
        line for line in (FOLDER / "farm.yaml").read_text().splitlines() if named in line
    )
    assert f"--from-literal={token.name}=" in command


def test_nothing_leaves_a_worker_and_only_named_pods_reach_it() -> None:
    policy = by_kind("NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    for rule in policy["ingress"]:
        for peer in rule["from"]:
            assert peer["podSelector"]["matchLabels"]


def test_the_autoscaler_scales_the_deployment_by_the_metric_of_the_adapter() -> None:
    deployment, scaler = by_kind("Deployment"), by_kind("HorizontalPodAutoscaler")["spec"]
    target = scaler["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        deployment["apiVersion"],
        deployment["kind"],
        deployment["metadata"]["name"],
    )
    assert "replicas" not in deployment["spec"]  # applying it again would fight the autoscaler
    [metric] = scaler["metrics"]
    [adapter] = documents("prometheus-adapter.yaml")
    [rule] = adapter["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    assert re.fullmatch(rule["name"]["matches"], series)
    assert set(re.findall(r"mdx_farm_\w+", rule["metricsQuery"])) == {
        "mdx_farm_queue_length",
        "mdx_farm_slots_busy",
        "mdx_farm_slots",
    }
