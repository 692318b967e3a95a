'use strict';
const fs = require('fs');
const path = require('path');

// Told by the master that it is ready, at the start of all or as a replacement: who, when Node began in it, and when that
// was, in milliseconds of the same clock.
module.exports = app => app.messenger.once('egg-ready', () => {
  const { timeOrigin } = performance;
  fs.appendFileSync(path.join(process.env.HOME, 'ready'), `${process.pid} ${timeOrigin} ${timeOrigin + performance.now()}\n`);
});
