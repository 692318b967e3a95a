'use strict';
// The least that Egg's own cluster takes for a framework: an agent and workers that are ready at once. It loads
// egg-cluster and not egg, which is in egg-scripts' favour.
const EventEmitter = require('events');

exports.startCluster = require('egg-cluster').startCluster;

class ReadyAtOnce extends EventEmitter {
  constructor() { super(); this.config = { cluster: {} }; }
  ready(done) { setImmediate(done); }
  callback() { return (request, response) => response.end('ok'); }
  async close() {}
}

exports.Application = ReadyAtOnce;
exports.Agent = ReadyAtOnce;
