from engine.algorithms.map import parallel_map
from engine.pool.pool import Pool
from engine.memory.arrays import empty, zeros, full
