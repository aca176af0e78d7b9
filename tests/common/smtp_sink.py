"""A mail server for tests: one JSON line for each message that it takes. Its standard input is its life line."""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

config = json.loads(sys.argv[1])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 no such mailbox"
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: (message.get_body((kind,)) or message).get_content()
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": part("plain"),
            "html": part("html"),
            "tls": session.ssl is not None or config["tls"] == "tls",
            "login": getattr(session, "auth_data", None) is not None,
            "raw": envelope.content.decode("latin-1"),
        }), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = LoginPassword(config["user"].encode(), config["password"].encode())
    return AuthResult(success=data == good, handled=data == good, auth_data=data if data == good else None)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(config["cert"], config["key"])
    return made


async def main():
    options = {"hostname": "sink", "enable_SMTPUTF8": True}
    if config["tls"] == "starttls":
        options.update(tls_context=context(), require_starttls=True)
    if config["user"]:
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=config["tls"] == "starttls")
    outer = context() if config["tls"] == "tls" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), loop=loop, **options), config.get("host", "127.0.0.1"), config["port"], ssl=outer)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
