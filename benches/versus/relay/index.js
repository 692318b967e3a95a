'use strict';
// A framework on bare egg-cluster whose workers send messages by the master to the agent and to each other:
// `GET /?pids=AGENT,WORKER,…&size=BYTES&count=MESSAGES` is answered with `MESSAGES SECONDS` when all have arrived.
const { startCluster, Application, Agent } = require('../framework');

// How many are under way to each receiver: two batches, of which it acknowledges each with one message. Without a bound
// a sender is not stopped by anything: Node's channel and the masters queue.
const BYTES_IN_A_BATCH = 256 * 1024;
const batchOf = size => Math.max(16, Math.min(1024, BYTES_IN_A_BATCH / size));

// So many bytes of JSON as applications send them: a list of records, and a text for what is left.
function payload(size) {
  const [list, json] = [[], () => JSON.stringify({ list, rest: '' }).length];
  while (json() + 100 < size) {
    list.push({ id: `com.example.Service${list.length}`, host: '10.0.0.7', port: 12200, weight: 0.5, up: true });
  }
  return { list, rest: '-'.repeat(size - json()) };
}

let acknowledged = () => {};
process.on('message', ({ action, data }) => {
  if (action === 'relay' && data.last) process.send({ action: 'ack', receiverPid: data.sender, data: String(process.pid) });
  if (action === 'ack') acknowledged(data);
});

function relay(receivers, size, count, done) {
  const [content, sender, batch] = [payload(size), String(process.pid), batchOf(size)];
  const batches = Math.ceil(count / batch);
  const began = process.hrtime.bigint();
  let [sent, arrived] = [0, 0];
  const send = receiverPid => {
    if (sent++ >= batches) return;
    for (let left = batch; left > 0; left--) {
      process.send({ action: 'relay', receiverPid, data: { sender, last: left === 1, content } });
    }
  };
  acknowledged = receiver => {
    if (++arrived < batches) return send(receiver);
    done(`${batches * batch} ${Number(process.hrtime.bigint() - began) / 1e9}`);
  };
  for (const receiver of [...receivers, ...receivers]) send(receiver);
}

class Relay extends Application {
  callback() {
    return (request, response) => {
      const { searchParams: asked } = new URL(request.url, 'http://relay');
      const others = asked.get('pids').split(',').filter(pid => pid !== String(process.pid));
      relay(others, Number(asked.get('size')), Number(asked.get('count')), told => response.end(told));
    };
  }
}

module.exports = { startCluster, Application: Relay, Agent };
