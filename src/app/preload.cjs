'use strict';
// eggctl's member preload: loaded by --require into every Node member, and by inheritance into what members fork.
// It must be harmless there, must never throw, and does nothing on the request path before the member is asked to leave.
const fs = require('fs');
const net = require('net');

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
  const closed = leaving.map(server => new Promise(resolve => server.close(resolve)));
  Promise.all([...closed, new Promise(resolve => { noneSent = resolve; forget(); })]).then(drained);
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

// 4. Say so when it is done. (Prepended: Node's own listener for internal messages stands already.)
const drained = () => process.connected && process.send({ cmd: 'NODE_EGGCTL', act: 'drained' }, () => {});
process.prependListener('internalMessage', (message, handle) => {
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'drain') drain();
  if (message && message.cmd === 'NODE_EGGCTL' && message.act === 'last') drained(); // What came before it is emitted already.
  if (message && message.cmd === 'NODE_HANDLE' && message.type === 'net.Socket' && handle) count(handle);
});
