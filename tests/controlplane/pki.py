"""A certificate authority of a test run, made anew for each: nothing in it is worth keeping."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = "DNS:localhost,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.0.0.1"


@dataclass(frozen=True)
class Pki:
    """Where the files are."""

    folder: Path

    def path(self, name: str) -> Path:
        """A file of the authority, such as ``ca.crt`` or ``admin.key``."""
        return self.folder / name


def make(folder: Path) -> Pki:
    """Make the authority, the server's certificate, the clients' certificates and the service account key."""
    folder.mkdir(parents=True, mode=0o700)
    pki = Pki(folder)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pki.path("ca.key")))
    _openssl(
        *("req", "-x509", "-new", "-key", str(pki.path("ca.key")), "-subj", "/CN=dezky-test-ca", "-days", "2"),
        *("-addext", "keyUsage=critical,keyCertSign,digitalSignature", "-out", str(pki.path("ca.crt"))),
    )
    _signed(pki, "apiserver", "/CN=kube-apiserver", f"subjectAltName={NAMES}\nextendedKeyUsage=serverAuth\n")
    client = "extendedKeyUsage=clientAuth\n"
    _signed(pki, "admin", "/O=system:masters/CN=admin", client)
    _signed(pki, "controller-manager", "/CN=system:kube-controller-manager", client)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pki.path("service-account.key")))
    _openssl("ec", "-in", str(pki.path("service-account.key")), "-pubout", "-out", str(pki.path("service-account.pub")))
    return pki


def _signed(pki: Pki, name: str, subject: str, extensions: str) -> None:
    key, request, certificate, extra = (str(pki.path(f"{name}.{end}")) for end in ("key", "csr", "crt", "ext"))
    Path(extra).write_text(extensions)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-CA", str(pki.path("ca.crt")), "-CAkey", str(pki.path("ca.key"))),
        *("-CAcreateserial", "-days", "2", "-extfile", extra, "-out", certificate),
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
