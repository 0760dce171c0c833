# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates for two relays on one machine, made by openssl."""

import os
import subprocess

from processes import BenchError

_REQUEST = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2"]


def make(directory):
    """Fills DIRECTORY in the layout of QEMU's tls-creds-x509."""

    def path(name):
        return os.path.join(directory, name)

    authority = ["-CA", path("ca-cert.pem"), "-CAkey", path("ca-key.pem"),
                 "-addext", "basicConstraints=critical,CA:FALSE"]
    _request("bench CA", path("ca"), "-addext", "keyUsage=critical,keyCertSign")
    _request("bench server", path("server"), *authority, "-addext",
             "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "extendedKeyUsage=serverAuth")
    _request("bench client", path("client"), *authority, "-addext", "extendedKeyUsage=clientAuth")


def _request(name, prefix, *options):
    command = [*_REQUEST, "-subj", f"/CN={name}", "-keyout", f"{prefix}-key.pem", "-out",
               f"{prefix}-cert.pem", *options]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchError("openssl is needed, and is not there") from error
    if answer.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {answer.stderr.strip()[-400:]}")
