#!/usr/bin/env python3
# Ten lines of Python: pip install websockets (Debian: python3-websockets), then subscriber.py 'news/#'
import asyncio, json, sys, websockets

async def main(filter="news/#", url="ws://localhost:7788/ws"):
    async with websockets.connect(url, subprotocols=["fanfare.v1"]) as socket:
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": filter}))
        async for text in socket:
            print(text, flush=True)

asyncio.run(main(*sys.argv[1:]))
