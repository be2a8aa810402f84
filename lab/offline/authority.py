"""A certificate authority for one address; clients reject its certificates for any other."""

from __future__ import annotations

import datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.errors import ConfigError
from lab.state import write_aside

# An authority is valid for a course, and is replaced this long before its end.
VALID, RENEW = datetime.timedelta(days=365), datetime.timedelta(days=30)


def identity(folder: Path, address: str) -> Path:
    """The folder of an address with ca.pem, and with a new server.pem signed by that authority.

    Raises ConfigError for text that is no IPv4 address, and for 0.0.0.0.
    """
    try:
        number = IPv4Address(address)
    except ValueError:
        raise ConfigError(
            f"{address!r} is not an IPv4 address", hint="see: ip -4 address"
        ) from None
    if number.is_unspecified:
        raise ConfigError(
            f"{address} is not an address that the room's clients can use",
            hint="use the address of one network card, see: ip -4 address",
        )
    place = folder / address
    key_file, ca_file = place / "ca.key", place / "ca.pem"
    now = datetime.datetime.now(datetime.UTC)
    if not ca_file.exists() or certificate(ca_file).not_valid_after_utc - RENEW < now:
        key = ec.generate_private_key(ec.SECP256R1())
        write_aside(key_file, private(key))
        write_aside(ca_file, public(authority(key, number, now)), mode=0o644)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    issued = issue(loaded, certificate(ca_file), own, number, now)
    write_aside(place / "server.pem", private(own) + public(issued))
    return place


def authority(
    key: ec.EllipticCurvePrivateKey, address: IPv4Address, now: datetime.datetime
) -> x509.Certificate:
    """A certificate authority for one address; clients reject its certificates for any other."""
    name = _name(f"Kubernetes lecture lab: {address}")
    only = [x509.IPAddress(IPv4Network(address)), x509.DNSName("invalid")]
    builder = _certificate(name, name, key, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.NameConstraints(only, None), critical=True)
    return builder.sign(key, hashes.SHA256())


def issue(
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    address: IPv4Address,
    now: datetime.datetime,
) -> x509.Certificate:
    """A server's certificate for an address."""
    names = x509.SubjectAlternativeName([x509.IPAddress(address)])
    builder = _certificate(_name("mirror"), ca.subject, key, now)
    builder = builder.add_extension(names, critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def certificate(file: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def private(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as unencrypted PEM, for files that only their owner may read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public(signed: x509.Certificate) -> str:
    """A certificate as PEM."""
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clocks in a room differ.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALID)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
