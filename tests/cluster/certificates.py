"""The cluster's own authority, and a certificate for each component, by openssl.

Who a component is to the API server stands in its certificate: the common name is the user, the
organisation the group. Keys are elliptic: made in milliseconds.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.steps import run, write

DAYS: Final = "365"  # the cluster lives for hours; nobody should meet an expired one


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a certificate is for. With `names` (subjectAltName) it serves; without, it calls."""

    file: str
    user: str
    group: str = ""
    names: str = ""


ADMIN: Final = Holder("admin", "admin", "system:masters")
HOLDERS: Final = (
    ADMIN,
    Holder("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    Holder("controller-manager", "system:kube-controller-manager"),
    Holder("scheduler", "system:kube-scheduler"),
    Holder("proxy", "system:kube-proxy"),
    Holder("kubelet", f"system:node:{places.NODE_NAME}", "system:nodes"),
    Holder(
        "apiserver-serving",
        "kube-apiserver",
        names=f"IP:{places.NODE_ADDRESS},IP:{places.API_SERVICE_ADDRESS},IP:127.0.0.1,"
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
        "DNS:kubernetes.default.svc.cluster.local",
    ),
    Holder(
        "kubelet-serving",
        f"system:node:{places.NODE_NAME}",
        "system:nodes",
        names=f"IP:{places.NODE_ADDRESS},DNS:{places.NODE_NAME}",
    ),
)


def _key(file: Path) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file])
    file.chmod(0o600)


def _authority(folder: Path) -> None:
    _key(folder / "ca.key")
    use = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
    request = ["openssl", "req", "-x509", "-new", "-sha256", "-days", DAYS, "-addext", use]
    own = ["-subj", f"/CN={places.NAME}", "-key", f"{folder}/ca.key", "-out", f"{folder}/ca.crt"]
    run([*request, *own])


def _certificate(folder: Path, holder: Holder) -> None:
    stem = folder / holder.file
    _key(stem.with_suffix(".key"))
    subject = (f"/O={holder.group}" if holder.group else "") + f"/CN={holder.user}"
    request = ["openssl", "req", "-new", "-key", f"{stem}.key", "-subj", subject]
    use = "serverAuth" if holder.names else "clientAuth"
    extensions = f"keyUsage=critical,digitalSignature\nextendedKeyUsage={use}\n"
    if holder.names:
        extensions += f"subjectAltName={holder.names}\n"
    write(stem.with_suffix(".ext"), extensions)
    sign = ["openssl", "x509", "-req", "-sha256", "-days", DAYS, "-CAcreateserial"]
    authority = ["-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key"]
    output = ["-extfile", f"{stem}.ext", "-out", f"{stem}.crt"]
    run([*sign, *authority, *output], given=run(request))


def kubeconfig(folder: Path, holder: Holder) -> str:
    """A kubeconfig for `holder` that names the files in `folder`."""
    user = {
        "client-certificate": str(folder / f"{holder.file}.crt"),
        "client-key": str(folder / f"{holder.file}.key"),
    }
    cluster = {"server": places.API_URL, "certificate-authority": str(folder / "ca.crt")}
    context = {"cluster": places.NAME, "user": holder.user}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": places.NAME, "cluster": cluster}],
        "users": [{"name": holder.user, "user": user}],
        "contexts": [{"name": places.NAME, "context": context}],
        "current-context": places.NAME,
    }
    return json.dumps(content, indent=2) + "\n"  # JSON is YAML, too


def make(state: places.State) -> None:
    """Make the authority, all certificates, and the components' kubeconfigs."""
    folder = state.certificates
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    _authority(folder)
    for holder in HOLDERS:
        _certificate(folder, holder)
        if not holder.names:
            access = state.configuration / f"{holder.file}.kubeconfig"
            write(access, kubeconfig(folder, holder), 0o600)
    # What service accounts' tokens are signed with; the public half is read from it.
    _key(folder / "service-accounts.key")
