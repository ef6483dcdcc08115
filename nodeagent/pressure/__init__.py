"""Is the machine short of disk, memory or process ids? Is a Pod over its share of the disk?"""
