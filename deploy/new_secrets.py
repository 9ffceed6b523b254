"""`make secrets`: the files that compose and Kubernetes hand to the services, one secret each.

Whatever is missing in deploy/secrets is made; nothing is changed. Beside the real platform the keys of its
services are written over what is made here. Needs only the system's python3.
"""

import sys
from pathlib import Path
from secrets import token_hex

SECRETS = Path(__file__).resolve().parent / "secrets"
BYTES = 32
OWN = ("postgres_password", "rabbitmq_password", "model_service_api_key")
NEIGHBOURS = ("feature_service_api_key", "position_manager_api_key", "ws_gateway_api_key")


def main() -> int:
    """Makes what is missing, and says what it made."""
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    made = [name for name in (*OWN, *NEIGHBOURS) if _made(name, token_hex(BYTES))]
    password = (SECRETS / "rabbitmq_password").read_text()
    if _made("rabbitmq_user", f"default_user = flotilla\ndefault_pass = {password}\n"):
        made.append("rabbitmq_user")
    print(f"made in {SECRETS}: {', '.join(made)}" if made else f"{SECRETS} is complete")
    if set(made) & set(NEIGHBOURS):
        print("beside a real platform, put its own keys into " + ", ".join(NEIGHBOURS))
    return 0


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
