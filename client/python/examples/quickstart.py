"""Generate, patch the routers, see what changes. For a server of `deploy/quickstart.sh`."""

import argparse

import olmoe

PROMPT = "Once upon a time there was a little fox who"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", help="HOST:PORT; else OLMOE_SERVER, else 127.0.0.1:50051")
    parser.add_argument("--admin", help="HOST:PORT; else OLMOE_ADMIN, else 127.0.0.1:50052")
    arguments = parser.parse_args()
    with olmoe.Client(arguments.server) as client, olmoe.Admin(arguments.admin) as admin:
        client.wait_ready()
        own = client.generate(PROMPT, 20, temperature=0)
        print(f"own routing:    {own.text!r}")
        with admin.patched(olmoe.TopK(1), ttl=30, note="quickstart"):
            for delta in client.stream(PROMPT, 20, temperature=0):
                print(delta.text, end="", flush=True)
            print()
            thin = client.generate(PROMPT, 20, temperature=0)
        print(f"one expert:     {thin.text!r}")
        print(f"activations:    {own.usage.expert_activations} and "
              f"{thin.usage.expert_activations}")
        after = client.generate(PROMPT, 20, temperature=0)
        print(f"as before:      {after.text == own.text}")


if __name__ == "__main__":
    main()
