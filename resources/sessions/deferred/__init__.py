"""Tasks of the lane after the ad's path: a worker process, and the queue of ads that it takes."""
