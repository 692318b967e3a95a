'use strict';
const path = require('path');

// Nothing is written beside the application: both contestants use one copy of it.
module.exports = { keys: 'for a benchmark only', rundir: path.join(process.env.HOME, 'run') };
