# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes certificates with openssl, in the layout of QEMU's tls-creds-x509."""

import os
import shutil
import subprocess

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def is_available():
    return shutil.which("openssl") is not None


def _openssl(*arguments, data=None):
    done = subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout


class Authority:
    """A certificate authority, which issues into directories of its own making below PATH."""

    def __init__(self, path, name):
        self.path = path
        self._key = os.path.join(path, f"{name}-key.pem")
        self.certificate = os.path.join(path, f"{name}-cert.pem")
        _openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.certificate, "-days", "9",
                 "-subj", f"/CN={name}")

    def issue(self, directory, role, subject, days=9, names=()):
        """A certificate and a key for ROLE ("server" or "client"); DAYS below 0: it has expired."""
        extensions = os.path.join(directory, f"{role}.cnf")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"extendedKeyUsage={role}Auth\n")
            if names:
                file.write(f"subjectAltName={','.join(names)}\n")
        request = _openssl("req", *_KEY, "-keyout", os.path.join(directory, f"{role}-key.pem"),
                           "-subj", subject)
        _openssl("x509", "-req", "-CA", self.certificate, "-CAkey", self._key, "-days", str(days),
                 "-extfile", extensions, "-out", os.path.join(directory, f"{role}-cert.pem"),
                 data=request)

    def credentials(self, name, trust=None, server_names=("DNS:localhost", "IP:127.0.0.1", "IP:::1"),
                    server_days=9, client_days=9, client_subject="/O=cloud/CN=host1"):
        """A directory for both roles that trusts the authority TRUST (default: this one)."""
        directory = os.path.join(self.path, name)
        os.mkdir(directory)
        shutil.copy((trust or self).certificate, os.path.join(directory, "ca-cert.pem"))
        self.issue(directory, "server", "/CN=server", server_days, server_names)
        self.issue(directory, "client", client_subject, client_days)
        return directory
