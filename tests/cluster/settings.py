"""The configuration of each component on the node, and the command that starts it.

Written as data: nothing here does anything. Where a value isn't the component's default, a comment
says why.
"""

import json
from typing import Any, Final

from tests.cluster import network, places

Json = dict[str, Any]

ETCD_URL: Final = "http://127.0.0.1:2379"  # loopback of the node's own network namespace
# The defaults are made for hundreds of nodes that share a server. Tests make many objects at once.
QPS: Final = 200
BURST: Final = 400
PAUSE_IMAGE: Final = "localhost/pause:1"


def containerd(state: places.State) -> str:
    """containerd's own configuration: TOML."""
    run = state.data / "run"
    lines = [
        "version = 2",
        f'root = "{state.data}/containerd"',
        f'state = "{run}/containerd"',
        "oom_score = 0",
        "[grpc]",
        f'  address = "{state.containerd_socket}"',
        '[plugins."io.containerd.internal.v1.opt"]',
        f'  path = "{state.data}/opt"',
        '[plugins."io.containerd.grpc.v1.cri"]',
        f'  sandbox_image = "{PAUSE_IMAGE}"',
        # Sandboxes are to be killed last, but without CAP_SYS_RESOURCE a process can't be given a
        # lower score than its parent's, and each sandbox would die at birth ("can't get final
        # child's PID from pipe: EOF").
        "  restrict_oom_score_adj = true",
        '[plugins."io.containerd.grpc.v1.cri".cni]',
        '  bin_dir = "/usr/lib/cni"',
        f'  conf_dir = "{state.configuration}/cni"',
        '[plugins."io.containerd.grpc.v1.cri".containerd]',
        '  snapshotter = "overlayfs"',
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]',
        '  runtime_type = "io.containerd.runc.v2"',
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]',
        "  SystemdCgroup = false",
    ]
    return "\n".join(lines) + "\n"


def kubelet(state: places.State) -> Json:
    """The kubelet's configuration."""
    certificates = state.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": places.NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",  # there may be no systemd
        "cgroupRoot": f"/{places.CGROUP}",
        "clusterDNS": [places.DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{state.containerd_socket}",
        # A full disk of the machine is no reason to evict tests' pods.
        "evictionHard": {
            "memory.available": "1%",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "failCgroupV1": False,  # the newest kernel may have nothing else mounted
        "failSwapOn": False,
        # Images are imported, not pulled: one that is removed to free space doesn't come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # 0 isn't "no limit" but five a second: what a pod waits for would be told minutes late.
        "eventRecordQPS": QPS,
        "eventBurst": 2 * QPS,
        "registryPullQPS": 0,  # no limit
        "kubeAPIQPS": QPS,
        "kubeAPIBurst": BURST,
        "maxPods": 250,
        "oomScoreAdj": 0,  # a lower one needs CAP_SYS_RESOURCE
        "podLogsDir": str(state.data / "pod-logs"),
        "resolvConf": str(state.configuration / "resolv.conf"),  # not the machine's
        "rotateCertificates": False,
        "serializeImagePulls": False,
        "tlsCertFile": str(certificates / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(certificates / "kubelet-serving.key"),
        "volumePluginDir": str(state.data / "volume-plugins"),
    }


def proxy(state: places.State) -> Json:
    """kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": places.NODE_ADDRESS,
        "clientConnection": {"kubeconfig": str(state.configuration / "proxy.kubeconfig")},
        "clusterCIDR": places.POD_RANGE,
        # These are the machine's, not the namespace's: not ours to set, or not writable.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": places.NODE_NAME,
        "mode": "iptables",
        "oomScoreAdj": 0,
    }


def files(state: places.State) -> dict[str, str]:
    """The text of each configuration file, by its path in the state's folder of configuration."""
    return {
        "containerd.toml": containerd(state),
        "cni/10-pods.conflist": network.pods_network(),
        "kubelet.yaml": json.dumps(kubelet(state), indent=2),  # JSON is YAML, too
        "proxy.yaml": json.dumps(proxy(state), indent=2),
        "resolv.conf": "",
    }


def _etcd(state: places.State) -> list[str]:
    return [
        f"--data-dir={state.data}/etcd",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
        "--unsafe-no-fsync",  # what it holds isn't worth waiting for the disk
    ]


def _apiserver(state: places.State) -> list[str]:
    certificates = state.certificates
    return [
        f"--advertise-address={places.NODE_ADDRESS}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        f"--cert-dir={state.data}/apiserver",
        f"--client-ca-file={certificates}/ca.crt",
        "--enable-admission-plugins=NodeRestriction",
        f"--etcd-servers={ETCD_URL}",
        f"--kubelet-client-certificate={certificates}/kubelet-client.crt",
        f"--kubelet-client-key={certificates}/kubelet-client.key",
        f"--kubelet-certificate-authority={certificates}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={certificates}/service-accounts.key",
        f"--service-account-signing-key-file={certificates}/service-accounts.key",
        f"--service-cluster-ip-range={places.SERVICE_RANGE}",
        f"--tls-cert-file={certificates}/apiserver-serving.crt",
        f"--tls-private-key-file={certificates}/apiserver-serving.key",
    ]


def _controller_manager(state: places.State) -> list[str]:
    certificates = state.certificates
    return [
        "--bind-address=127.0.0.1",
        f"--cluster-signing-cert-file={certificates}/ca.crt",
        f"--cluster-signing-key-file={certificates}/ca.key",
        f"--kube-api-burst={BURST}",
        f"--kube-api-qps={QPS}",
        f"--kubeconfig={state.configuration}/controller-manager.kubeconfig",
        "--leader-elect=false",  # there is one
        f"--root-ca-file={certificates}/ca.crt",
        f"--service-account-private-key-file={certificates}/service-accounts.key",
        "--use-service-account-credentials=true",
    ]


def _scheduler(state: places.State) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--kube-api-burst={BURST}",
        f"--kube-api-qps={QPS}",
        f"--kubeconfig={state.configuration}/scheduler.kubeconfig",
        "--leader-elect=false",
    ]


def _kubelet(state: places.State) -> list[str]:
    return [
        f"--config={state.configuration}/kubelet.yaml",
        f"--hostname-override={places.NODE_NAME}",
        f"--kubeconfig={state.configuration}/kubelet.kubeconfig",
        f"--node-ip={places.NODE_ADDRESS}",
    ]


def commands(state: places.State) -> dict[str, list[str]]:
    """The command of each component by its name, in the order in which they are started."""
    own = state.binaries
    return {
        "etcd": [f"{own}/etcd", *_etcd(state)],
        "containerd": ["containerd", f"--config={state.configuration}/containerd.toml"],
        "kube-apiserver": [f"{own}/kube-apiserver", *_apiserver(state)],
        "kube-controller-manager": [
            f"{own}/kube-controller-manager",
            *_controller_manager(state),
        ],
        "kube-scheduler": [f"{own}/kube-scheduler", *_scheduler(state)],
        "kubelet": [f"{own}/kubelet", *_kubelet(state)],
        "kube-proxy": [f"{own}/kube-proxy", f"--config={state.configuration}/proxy.yaml"],
    }
