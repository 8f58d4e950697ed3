"""FastAPI, by its tutorial ("OAuth2 with Password (and hashing), Bearer with JWT tokens": PyJWT in a dependency) and "Run a Server Manually": uvicorn with
uvloop and httptools, one worker, no access log. The app is asked by httpx, streamed both ways. uvicorn speaks no HTTP/2, and FastAPI proxies no WebSocket."""

import asyncio
import os
from typing import Annotated

import httpx
import jwt
import uvicorn
import uvloop
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.security import OAuth2PasswordBearer
from starlette.background import BackgroundTask

FILES, ORIGIN, ALG = os.environ["FILES"], os.environ["ORIGIN"], os.environ["ALG"]


def text(name):
    with open(f"{FILES}/{name}") as file:
        return file.read()


KEY = load_pem_public_key(text("issuer.pem").encode())
URLS = dict(line.split(" ", 1) for line in text("users.map").splitlines())
BETWEEN_US = {"connection", "keep-alive", "transfer-encoding", "host", "authorization"}

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
bearer = OAuth2PasswordBearer(tokenUrl="token")
client = httpx.AsyncClient(base_url=f"http://{ORIGIN}", limits=httpx.Limits(max_connections=None, max_keepalive_connections=64), timeout=60)


async def session(token: Annotated[str, Depends(bearer)]) -> str:
    try:
        claims = jwt.decode(token, KEY, algorithms=[ALG], audience="my-app", issuer="https://idp.example.com", options={"require": ["exp", "sub"]})
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    return claims["sub"]


Subject = Annotated[str, Depends(session)]


@app.get("/plugins/face-scan")
async def face_scan(subject: Subject):
    return RedirectResponse(URLS[subject], 302, {"cache-control": "no-store", "referrer-policy": "no-referrer"})


@app.api_route("/app/{path:path}", methods=["GET", "POST"])
async def behind(path: str, request: Request, subject: Subject):
    fields = [(name, value) for name, value in request.headers.items() if name not in BETWEEN_US]
    body = request.stream() if request.method == "POST" else None
    onward = client.build_request(request.method, f"/app/{path}", headers=[*fields, ("x-auth-subject", subject)], content=body)
    answer = await client.send(onward, stream=True)
    headers = {name: value for name, value in answer.headers.items() if name not in BETWEEN_US}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, headers, background=BackgroundTask(answer.aclose))


async def main():
    plain = {"host": "127.0.0.1", "access_log": False, "log_level": "warning", "timeout_keep_alive": 75, "loop": "uvloop", "http": "httptools"}
    tls = {"ssl_certfile": f"{FILES}/site.pem", "ssl_keyfile": f"{FILES}/site-key.pem"}
    configurations = [uvicorn.Config(app, port=int(os.environ["PLAIN"]), **plain), uvicorn.Config(app, port=int(os.environ["TLS"]), **plain, **tls)]
    await asyncio.gather(*(uvicorn.Server(configuration).serve() for configuration in configurations))


asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
