'use strict';
// eggctl's member preload: loaded by --require into every Node member, and by inheritance into what members fork.
// It must be harmless there, must never throw, and does nothing on the request path before the member is asked to leave.
const fs = require('fs');
const net = require('net');
const isMember = process.env.EGGCTL_MEMBER === '1' && delete process.env.EGGCTL_MEMBER; // What it forks is not one.

// 1. Lines printed just before process.exit arrive: into a pipe, Node otherwise loses what it has not written yet.
for (const [fd, name] of [[1, 'stdout'], [2, 'stderr']]) {
  try { if (fs.fstatSync(fd).isFIFO()) process[name]._handle.setBlocking(true); } catch { /* a closed stream */ }
}
fs.statSync(__filename); // Node's realpath looks at the last stat's result, and would take links to modules for pipes.

// 2. Remember what has to close: the servers that listen, and the sessions of those that speak HTTP/2.
const servers = new Set();
const sessions = new Map();
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (...args) {
  if (!servers.has(this)) servers.add(this.once('close', () => servers.delete(this)));
  if (this.updateSettings && !this.listeners('session').includes(remember)) this.on('session', remember);
  return listen.apply(this, args);
};
function remember(session) {
  sessions.set(session.once('close', () => sessions.delete(session)));
  if (leaving) session.once('stream', () => sayGoAway(session)); // A client that was quicker than the word has one answer.
}

// 3. Leave politely when the master says so. Servers stop accepting, answers say `Connection: close`, sessions of HTTP/2
// get their GOAWAY, and the channel stays. `quiet` is given at a stop: how soon to close connections that nothing uses.
let leaving;
const closeIdle = new Map();
function drain(quiet) {
  if (!leaving) leave();
  const longest = Math.max(0, ...leaving.map(server => server.keepAliveTimeout || 0));
  hangUpAfter(quiet || Math.min(longest + 1000, 10000));
}
function leave() {
  leaving = [...servers];
  if (isMember && !released && process.channel) process.channel.ref(); // Its TERM is to find it, with nothing left to do.
  for (const server of leaving.filter(server => server.closeIdleConnections)) {
    closeIdle.set(server, server.closeIdleConnections);
    server.closeIdleConnections = () => {}; // close() would reset a socket whose next request is on its way
  }
  const last = response => { if (response) response.shouldKeepAlive = false; };
  require('diagnostics_channel').subscribe('http.server.request.start', ({ response }) => last(response));
  leaving.forEach(server => connections(server).forEach(socket => last(socket._httpMessage)));
  const closed = leaving.map(server => new Promise(resolve => {
    try { server.close(resolve); } catch { resolve(); }
  }));
  closeAgainWithoutAnError();
  [...sessions.keys()].forEach(sayGoAway);
  require('diagnostics_channel').channel('eggctl.drain').publish({}); // WebSockets are the application's to close.
  Promise.all([...closed, new Promise(resolve => { noneSent = resolve; forget(); })]).then(drained);
}

function sayGoAway(session) {
  const { destroySoon } = session.socket || {}; // By itself the socket waits for the end of a peer that may be gone.
  sessions.set(session, destroySoon);
  session.close();
}

// At TERM the application closes its servers itself, and would not expect to find them closed.
function closeAgainWithoutAnError() {
  const { close } = net.Server.prototype;
  net.Server.prototype.close = function (callback) {
    const again = !this.listening && leaving.includes(this) && typeof callback === 'function';
    return close.call(this, again ? () => callback() : callback);
  };
}

// 4. Close connections that nothing uses. A kept one ends with its next request, or by the server's own keepAliveTimeout,
// which its client knows of. One that is there for longer, or was never used, is closed after that, and not later than
// 10 s: its client may never come back. Closing one whose next request has arrived and was not read yet resets it, and Node
// cannot ask the kernel. So it is done right after a poll, in a turn of the loop so short that nothing else ran in it, nor
// other processes meanwhile. Later looks find what was kept by answers that had begun before the word to leave.
function hangUpAfter(ms) {
  setTimeout(() => {
    const shaking = leaving.some(isTls) ? handles().filter(({ server }) => leaving.includes(server) && isTls(server)) : [];
    inQuietTurn(() => {
      closeIdle.forEach((close, server) => close.call(server));
      sessions.forEach((hangUp, session) => session.destroyed && hangUp && hangUp());
      leaving.flatMap(connections).concat(shaking).filter(isUnused).forEach(socket => socket.destroy());
    });
    hangUpAfter(ms);
  }, ms).unref();
}
function inQuietTurn(act) {
  const { performance } = require('perf_hooks');
  const next = (last, turns) => setImmediate(() => {
    const now = performance.now();
    if (now - last > 0.2 && turns > 0) next(now, turns - 1);
    else act();
  });
  next(0, 1000);
}
// To Node a connection that has never sent a byte is active. Over TLS the bytes are those after the handshake; before its
// end there is only the raw socket.
const isUnused = socket => socket.bytesRead === 0 && socket.bytesWritten === 0;
const isTls = server => Boolean(server.setSecureContext && (server.closeIdleConnections || server.updateSettings));
const handles = () => (process._getActiveHandles ? process._getActiveHandles().filter(handle => handle.server) : []);
function connections(server) {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'http.server.connections');
  const list = symbol && server[symbol];
  return list && list.all ? list.all().map(parser => parser.socket).filter(Boolean) : [];
}

// 5. Connections that came as messages (Egg's sticky mode) no server counts: they are waited for, too.
const sent = new Set();
let noneSent = () => {};
const forget = handle => { sent.delete(handle); if (sent.size === 0) noneSent(); };
function count(handle) {
  const { close } = handle;
  sent.add(handle);
  handle.close = (...args) => { forget(handle); return close.apply(handle, args); };
}

// 6. Say so when it is done, and learn, as a spare, which worker it becomes. (Prepended: Node's own listener for internal
// messages stands already.)
const drained = () => process.connected && process.send({ cmd: 'NODE_EGGCTL', act: 'drained' }, () => {});
process.prependListener('internalMessage', (message, handle) => {
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'drain') drain(message.quiet);
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'place') Object.assign(process.env, message.env);
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'last') drained(); // What came before it is emitted already.
  if (message && message.cmd === 'NODE_HANDLE' && message.type === 'net.Socket' && handle) count(handle);
});

// 7. After TERM the channel does not keep the process: it ends as it would without a master. (Node keeps a worker of a
// cluster for as long as its channel is open.) This is no listener of ours, which would undo the signal's default.
if (isMember) {
  process.prependListener('newListener', watch);
  const early = process.rawListeners('SIGTERM'); // of other preloads
  early.forEach(listener => process.removeListener('SIGTERM', listener));
  early.forEach(listener => process.on('SIGTERM', listener));
}
function watch(event) {
  if (event !== 'SIGTERM') return;
  process.removeListener('newListener', watch);
  const { emit } = process; // Node takes it as it is when a signal's first listener is added.
  process.emit = function (event, ...args) {
    if (event === 'SIGTERM') letGo();
    return emit.call(this, event, ...args);
  };
}
// What asks others something at its end (Egg's `beforeClose`) has a second for each answer.
const nodesOwn = process.listenerCount('message');
let released = false;
function letGo() {
  if (process.channel) process.channel.unref();
  if (released || !process.send) return;
  released = true;
  const { send } = process;
  let patience;
  process.send = function (message, ...args) {
    if (process.channel && expectsAnswer(message)) {
      process.channel.ref();
      clearTimeout(patience);
      patience = setTimeout(() => process.channel && process.channel.unref(), 1000).unref();
    }
    return send.call(this, message, ...args);
  };
}
function expectsAnswer(message) {
  if (message && /^NODE_/.test(message.cmd)) return message.act === 'exitedAfterDisconnect';
  const { worker } = require('cluster');
  return process.listenerCount('message') > nodesOwn || Boolean(worker && worker.listenerCount('message'));
}

// 8. A plain application's agent ends with its master: the kernel sends it TERM, and one that does not end by that is killed
// when its time is over. (Not by a listener for `disconnect`: that would keep the process alive.)
const grace = isMember && process.env.EGGCTL_AGENT_GRACE;
delete process.env.EGGCTL_AGENT_GRACE;
if (grace) {
  const { disconnect, ppid: master } = process;
  process.disconnect = function () { // Node calls it, too, when the channel's other end is closed.
    setTimeout(() => process.ppid !== master && process.kill(process.pid, 'SIGKILL'), Number(grace)).unref();
    return disconnect.apply(this, arguments);
  };
}

// 7. What would be cut if this process ended now, for the receipt: said from the word to leave on, whenever it changes.
process.prependListener('internalMessage', message => {
  if (isMember && message && message.cmd === 'NODE_EGGCTL' && message.act === 'drain') {
    try { tally([...servers]); } catch { /* an unknown number is not claimed */ }
  }
});
let tallied = false;
function tally(asked) {
  if (tallied) return;
  tallied = true;
  let said = '0 0';
  let later;
  const watched = new WeakSet();
  const watch = socket => {
    if (!socket || watched.has(socket)) return;
    watched.add(socket);
    socket.setMaxListeners(socket.getMaxListeners() && socket.getMaxListeners() + 1); // Ours is not the application's.
    socket.once('close', changed);
  };
  const isUnanswered = ({ _httpMessage: response }) => response && !response.writableFinished;
  // To Node's HTTP server every connection that is not upgraded has a parser.
  const parsed = server => {
    const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'http.server.connections');
    return symbol && server[symbol] && server[symbol].all ? server[symbol].all().map(({ socket }) => socket).filter(Boolean) : [];
  };
  const say = () => {
    later = undefined;
    let requests = 0;
    let connections = 0;
    let all = 0;
    for (const server of asked) {
      const sockets = parsed(server);
      sockets.forEach(watch);
      all += sockets.length;
      requests += sockets.filter(isUnanswered).length;
      connections += Math.max(0, (server._connections || 0) - sockets.length);
    }
    const now = `${requests} ${connections}`;
    if (now !== said && process.connected) process.send({ cmd: 'NODE_EGGCTL', act: 'inflight', requests, connections }, () => {});
    said = now;
    return all;
  };
  // At once, since the process may end with its last answer; with many connections, whose count takes a while, not each time.
  let many = false;
  const changed = () => {
    if (!many) many = say() > 100;
    else if (!later) later = setTimeout(() => { many = say() > 100; }, 20).unref();
  };
  const sockets = process._getActiveHandles ? process._getActiveHandles().filter(({ server }) => asked.includes(server)) : [];
  sockets.forEach(watch);
  const { subscribe } = require('diagnostics_channel');
  subscribe('http.server.request.start', changed);
  subscribe('http.server.response.finish', changed);
  many = say() > 100;
}
