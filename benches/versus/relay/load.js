'use strict';
// Messages in batches to each of some receivers, and their acknowledgements.

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

// What a receiver does with a message, and the sender with its answer.
exports.receive = ({ action, data }, reply) => {
  if (action === 'relay' && data.last) reply({ action: 'ack', receiverPid: data.sender, data: String(process.pid) });
  if (action === 'ack') acknowledged(data);
};

// Sends `count` messages of `size` bytes to receivers that are known by their pids; `done` gets `MESSAGES SECONDS`.
exports.send = (receivers, size, count, deliver, done) => {
  const [content, sender, batch] = [payload(size), String(process.pid), batchOf(size)];
  const batches = Math.ceil(count / batch);
  const began = process.hrtime.bigint();
  let [sent, arrived] = [0, 0];
  const sendBatch = receiverPid => {
    if (sent++ >= batches) return;
    for (let left = batch; left > 0; left--) {
      deliver(receiverPid, { action: 'relay', receiverPid, data: { sender, last: left === 1, content } });
    }
  };
  acknowledged = receiver => {
    if (++arrived < batches) return sendBatch(receiver);
    done(`${batches * batch} ${Number(process.hrtime.bigint() - began) / 1e9}`);
  };
  for (const receiver of [...receivers, ...receivers]) sendBatch(receiver);
};
