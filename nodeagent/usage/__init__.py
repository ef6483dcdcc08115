"""What the node and its Pods use: measured when somebody asks, never polled."""
