'use strict';
// A framework on bare egg-cluster whose workers answer as `answer.js` does.
const { startCluster, Application, Agent } = require('../framework');

class Answering extends Application {
  callback() { return require('./answer'); }
}

module.exports = { startCluster, Application: Answering, Agent };
