'use strict';
const fs = require('fs');
const path = require('path');

// Told by the master that it is ready: at the start of all, and again as a replacement.
module.exports = app => app.messenger.once('egg-ready', () => {
  fs.appendFileSync(path.join(process.env.HOME, 'ready'), `${process.pid}\n`);
});
