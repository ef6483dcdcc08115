"""TLS: an own certificate authority in the data directory, and the server's certificate from it.

``ensure_certificates`` is called at every start: it makes what is missing, renews the server's certificate when its end is near or its
names have changed, and never replaces the CA, which clients carry in their kubeconfig. Private keys are files of mode 0600.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lattice.machinery.clock import Clock

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 365
RENEW_BEFORE_DAYS: Final = 90
_SKEW: Final = timedelta(hours=1)
"""Certificates are valid from a little before now: clocks of nodes differ."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files are; ``ca_pem`` is what a kubeconfig carries."""

    ca_pem: bytes
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS settings of the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


def ensure_certificates(directory: Path, *, addresses: Iterable[str], clock: Clock) -> Certificates:
    """Return valid certificates from ``directory``, making or renewing what is needed.

    Args:
        directory: private to the server; created with mode 0700.
        addresses: names and IP addresses by which clients reach the server, besides localhost and this machine's name.
        clock: decides what is near its end.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file, ca_key_file = directory / "ca.crt", directory / "ca.key"
    leaf_file, leaf_key_file = directory / "server.crt", directory / "server.key"
    now = clock.now()
    if not (ca_file.exists() and ca_key_file.exists()):
        _make_ca(ca_file, ca_key_file, now)
    ca_pem = ca_file.read_bytes()
    names = sorted({"localhost", "127.0.0.1", "::1", socket.gethostname(), *(a for a in addresses if a not in {"", "0.0.0.0", "::"})})  # noqa: S104
    if not _is_good(leaf_file, leaf_key_file, ca_pem, names, now):
        _make_leaf(leaf_file, leaf_key_file, ca_pem, ca_key_file.read_bytes(), names, now)
    return Certificates(ca_pem, leaf_file, leaf_key_file)


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else can read at any moment, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _make_ca(ca_file: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lattice-ca")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_private(key_file, _key_pem(key))
    _write_private(ca_file, certificate.public_bytes(serialization.Encoding.PEM))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make_leaf(leaf_file: Path, key_file: Path, ca_pem: bytes, ca_key_pem: bytes, names: list[str], now: datetime) -> None:
    ca = x509.load_pem_x509_certificate(ca_pem)
    ca_key = serialization.load_pem_private_key(ca_key_pem, None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"the CA's key beside {leaf_file} is not an EC key; it was not made by Lattice")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lattice-server")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + timedelta(days=LEAF_DAYS), ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write_private(key_file, _key_pem(key))
    _write_private(leaf_file, certificate.public_bytes(serialization.Encoding.PEM))


def _is_good(leaf_file: Path, key_file: Path, ca_pem: bytes, names: list[str], now: datetime) -> bool:
    """Return whether the present certificate can be used: from this CA, for these names and this key, not near its end."""
    try:
        leaf = x509.load_pem_x509_certificate(leaf_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem))
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - absent, damaged or foreign: a new one is made in every case
        return False
    same_key = key.public_key() == leaf.public_key()
    wanted = {_general_name(name) for name in names}
    return same_key and wanted == set(found) and leaf.not_valid_after_utc - now > timedelta(days=RENEW_BEFORE_DAYS)
