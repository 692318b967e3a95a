'use strict';
// What the clients of `tests/harness/load.rs` ask for; and `/reload`, which asks egg-cluster's master for one.
module.exports = (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://reload');
  if (pathname === '/reload') process.send({ action: 'reload-worker', to: 'master' });
  const answer = () => response.end(String(process.pid));
  request.on('end', () => setTimeout(answer, Number(searchParams.get('ms')))).resume();
};
