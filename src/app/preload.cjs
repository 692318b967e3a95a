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

// 2. Leave politely when the master says so: servers stop accepting, answers say `Connection: close`, the channel stays.
const servers = new Set();
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (...args) {
  if (!servers.has(this)) servers.add(this.once('close', () => servers.delete(this)));
  return listen.apply(this, args);
};

let draining = false;
function drain() {
  if (draining) return;
  draining = true;
  if (isMember && !released && process.channel) process.channel.ref(); // Its TERM is to find it, with nothing left to do.
  const closeIdle = require('http').Server.prototype.closeIdleConnections;
  for (const { Server } of [require('http'), require('https')]) {
    Server.prototype.closeIdleConnections = () => {}; // close() would reset a socket whose next request is on its way
  }
  require('diagnostics_channel').subscribe('http.server.request.start', ({ response }) => { response.shouldKeepAlive = false; });
  const leaving = [...servers];
  // An idle connection ends with its next request, or by the server's own keepAliveTimeout, which its client knows of. What is
  // there for longer, or was never used, is closed after that, and not later than 10 s: nobody may come for it. Closing one
  // whose next request has arrived and was not read yet resets it, and Node cannot ask the kernel. So it is done right behind
  // a poll, in a turn of the loop so short that nothing else ran in it, nor other processes meanwhile.
  const longest = Math.max(0, ...leaving.map(server => server.keepAliveTimeout || 0));
  const { performance } = require('perf_hooks');
  const closeInQuietTurn = (last, turns) => setImmediate(() => {
    const now = performance.now();
    if (now - last > 0.2 && turns > 0) closeInQuietTurn(now, turns - 1);
    else leaving.forEach(server => server.closeAllConnections && closeIdle.call(server));
  });
  setTimeout(closeInQuietTurn, Math.min(longest + 1000, 10000), 0, 1000).unref();
  const closed = leaving.map(server => new Promise(resolve => {
    try { server.close(resolve); } catch { resolve(); }
  }));
  closeAgainWithoutAnError(leaving);
  Promise.all([...closed, new Promise(resolve => { noneSent = resolve; forget(); })]).then(drained);
}

// At TERM the application closes its servers itself, and would not expect to find them closed.
function closeAgainWithoutAnError(leaving) {
  const { close } = net.Server.prototype;
  net.Server.prototype.close = function (callback) {
    const again = !this.listening && leaving.includes(this) && typeof callback === 'function';
    return close.call(this, again ? () => callback() : callback);
  };
}

// 3. Connections that came as messages (Egg's sticky mode) no server counts: they are waited for, too.
const sent = new Set();
let noneSent = () => {};
const forget = handle => { sent.delete(handle); if (sent.size === 0) noneSent(); };
function count(handle) {
  const { close } = handle;
  sent.add(handle);
  handle.close = (...args) => { forget(handle); return close.apply(handle, args); };
}

// 4. Say so when it is done, and learn, as a spare, which worker it becomes. (Prepended: Node's own listener for internal messages stands already.)
const drained = () => process.connected && process.send({ cmd: 'NODE_EGGCTL', act: 'drained' }, () => {});
process.prependListener('internalMessage', (message, handle) => {
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'drain') drain();
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'place') Object.assign(process.env, message.env);
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'last') drained(); // What came before it is emitted already.
  if (message && message.cmd === 'NODE_HANDLE' && message.type === 'net.Socket' && handle) count(handle);
});

// 5. After TERM the channel does not keep the process: it ends as it would without a master. (Node keeps a worker of a
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

// 6. A plain application's agent ends with its master: the kernel sends it TERM, and one that does not end by that is killed
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
