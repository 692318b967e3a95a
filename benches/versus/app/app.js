'use strict';
// One worker for eggctl and for pm2's cluster mode; pm2 is told when it listens.
require('http').createServer((request, response) => response.end('ok')).listen(Number(process.env.PORT), () => {
  if (process.env.PM2_HOME) process.send('ready');
});
