"""`make secrets`: the files that compose and Kubernetes hand to the services, one secret each.

Every service has its own password at the database and at the broker. Whatever is missing in deploy/secrets
is made; nothing is changed. Beside the real platform the keys of its services are written over what is made
here. Needs only the system's python3.
"""

import json
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex

HERE = Path(__file__).resolve().parent
SECRETS = HERE / "secrets"
BYTES = 32
SERVICES = ("inference", "trainer", "exit_strategy", "api")
ADMINISTRATOR = "flotilla"
"""Of the database and the broker that compose starts; owns the tables, and plays the sandbox."""
OWN = (
    "postgres_password",
    "rabbitmq_password",
    "model_service_api_key",
    *(f"{server}_{service}_password" for server in ("postgres", "rabbitmq") for service in SERVICES),
)
NEIGHBOURS = ("feature_service_api_key", "position_manager_api_key", "ws_gateway_api_key")


def main() -> int:
    """Makes what is missing, and says what it made."""
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    made = [name for name in (*OWN, *NEIGHBOURS) if _made(name, token_hex(BYTES))]
    made += [name for name, content in _derived().items() if _made(name, content)]
    print(f"made in {SECRETS}: {', '.join(made)}" if made else f"{SECRETS} is complete")
    if set(made) & set(NEIGHBOURS):
        print("beside a real platform, put its own keys into " + ", ".join(NEIGHBOURS))
    return 0


# What holds other secrets: removed and made again where one of those changes.
def _derived() -> dict[str, str]:
    database, broker = _secret("postgres_password"), _secret("rabbitmq_password")
    return {
        "rabbitmq_definitions": json.dumps(_definitions(), indent=2) + "\n",
        "sandbox_database_url": f"postgresql://{ADMINISTRATOR}:{database}@postgres:5432/flotilla",
        "sandbox_rabbitmq_url": f"amqp://{ADMINISTRATOR}:{broker}@rabbitmq:5672/",
    }


# As RabbitMQ reads them at its start; the administrator may do everything.
def _definitions() -> dict[str, object]:
    everything = dict.fromkeys(("configure", "write", "read"), ".*")
    permissions = {ADMINISTRATOR: everything, **json.loads((HERE / "rabbitmq/permissions.json").read_text())}
    passwords = {
        user: _secret("rabbitmq_password" if user == ADMINISTRATOR else f"rabbitmq_{user}_password")
        for user in permissions
    }
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": user,
                "password_hash": _hashed(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"] * (user == ADMINISTRATOR),
            }
            for user, password in passwords.items()
        ],
        "permissions": [{"user": user, "vhost": "/", **may} for user, may in permissions.items()],
    }


def _hashed(password: str) -> str:
    salt = token_bytes(4)
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def _secret(name: str) -> str:
    return (SECRETS / name).read_text().rstrip("\n")


# Readable for the user of a container; the directory keeps everybody else of the host out.
def _made(name: str, content: str) -> bool:
    path = SECRETS / name
    if path.exists():
        return False
    path.write_text(content)
    path.chmod(0o444)
    return True


if __name__ == "__main__":
    sys.exit(main())
