'use strict';
// The same answers as a plain worker. ON_SIGINT=1: it closes its server on SIGINT, as pm2 asks applications to do.
const server = require('http').createServer(require('./answer'));
if (process.env.ON_SIGINT) process.on('SIGINT', () => server.close(() => process.exit(0)));
server.listen(Number(process.env.PORT), () => {
  if (process.env.PM2_HOME) process.send('ready');
});
