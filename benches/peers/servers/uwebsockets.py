"""uWebSockets through socketify: a topic for each group. The event loop, the topics and the frames are uWebSockets'; Python sees one call a publish."""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode


def message(socket, text, _opcode):
    verb, group, *rest = text.split(" ", 2)
    if verb == "follow":
        socket.subscribe(group)
        socket.send("followed", OpCode.TEXT)
    else:
        app.publish(group, rest[0], OpCode.TEXT)


app = App()
app.ws("/", {
    "compression": CompressOptions.DISABLED,
    "max_payload_length": 64 * 1024,
    "max_backpressure": 16 * 1024 * 1024,
    "idle_timeout": 120,
    "message": message,
})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"))
app.run()
