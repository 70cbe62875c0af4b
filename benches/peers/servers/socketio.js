// Socket.IO set up for speed as its page on performance advises: WebSocket alone, no compression, `bufferutil` beside `ws`, the first request not kept.
// Its text parser is faster here than the MessagePack one: a broadcast is made into a WebSocket frame once, which is done for text only.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, httpCompression: false, serveClient: false });
io.engine.on("connection", (raw) => {
    raw.request = null;
});
io.on("connection", (socket) => {
    socket.on("join", (group, joined) => {
        socket.join(group);
        joined();
    });
    socket.on("publish", (group, text, published) => {
        io.to(group).emit("message", text);
        published();
    });
});
http.listen(Number(process.argv[2]), "127.0.0.1");
