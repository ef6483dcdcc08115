"""The agent's metrics. Names and labels of containers are cAdvisor's, those of the machine node_exporter's: their dashboards work here."""

from __future__ import annotations

from typing import Final

from lattice.machinery.exposition import PROCESS, Metric

_CONTAINER: Final = ("namespace", "pod", "container")
_DISK: Final = ("mountpoint",)

CONTAINER_CPU: Final = Metric("container_cpu_usage_seconds_total", "counter", "CPU time that a container has used.", _CONTAINER)
CONTAINER_WORKING_SET: Final = Metric(
    "container_memory_working_set_bytes", "gauge", "Memory of a container without the page cache that was not used lately.", _CONTAINER
)
CONTAINER_MEMORY: Final = Metric("container_memory_usage_bytes", "gauge", "Memory of a container with its page cache.", _CONTAINER)
CONTAINER_PROCESSES: Final = Metric("container_processes", "gauge", "Processes and threads of a container.", _CONTAINER)
CONTAINER_START: Final = Metric("container_start_time_seconds", "gauge", "When a container was started, Unix time.", _CONTAINER)
CONTAINER_RECEIVED: Final = Metric(
    "container_network_receive_bytes_total", "counter", "Bytes that a Pod's network has received.", _CONTAINER
)
CONTAINER_SENT: Final = Metric("container_network_transmit_bytes_total", "counter", "Bytes that a Pod's network has sent.", _CONTAINER)

NODE_CPU: Final = Metric("node_cpu_seconds_total", "counter", "Time of each core, by what it did.", ("cpu", "mode"))
NODE_LOAD: Final = Metric("node_load1", "gauge", "Load of the machine, average of a minute.")
NODE_MEMORY_TOTAL: Final = Metric("node_memory_MemTotal_bytes", "gauge", "Memory of the machine.")
NODE_MEMORY_AVAILABLE: Final = Metric("node_memory_MemAvailable_bytes", "gauge", "Memory that programs can still have without swapping.")
NODE_DISK_SIZE: Final = Metric("node_filesystem_size_bytes", "gauge", "Size of the file system with Docker's data.", _DISK)
NODE_DISK_AVAILABLE: Final = Metric("node_filesystem_avail_bytes", "gauge", "What of it is free for ordinary programs.", _DISK)
NODE_INODES: Final = Metric("node_filesystem_files", "gauge", "Inodes of it.", _DISK)
NODE_INODES_FREE: Final = Metric("node_filesystem_files_free", "gauge", "Free inodes of it.", _DISK)

INFO: Final = Metric("lattice_agent_info", "gauge", "Always 1; the labels say which agent this is.", ("node", "version"))
CONNECTED: Final = Metric("lattice_agent_server_connected", "gauge", "1 while the server can ask this agent, else 0.")
ENGINE: Final = Metric("lattice_agent_engine_available", "gauge", "1 while Docker answers, else 0.")
PODS: Final = Metric("lattice_agent_pods", "gauge", "Pods of this node, by phase.", ("phase",))
CONTAINERS: Final = Metric("lattice_agent_containers", "gauge", "Containers of this node, by state.", ("state",))
PRESSURE: Final = Metric("lattice_agent_pressure", "gauge", "1 while the machine is short of this, else 0.", ("condition",))
IMAGES_COLLECTED: Final = Metric("lattice_agent_images_collected_total", "counter", "Images removed because the disk was full.")
IMAGES_COLLECTED_BYTES: Final = Metric("lattice_agent_images_collected_bytes_total", "counter", "Their size.")
EVICTIONS: Final = Metric("lattice_agent_evictions_total", "counter", "Pods ended because they wrote more than they may.")
STATUS_WRITES: Final = Metric("lattice_agent_status_writes_total", "counter", "Status of Pods sent to the server.")

METRICS: Final[tuple[Metric, ...]] = (
    CONTAINER_CPU, CONTAINER_WORKING_SET, CONTAINER_MEMORY, CONTAINER_PROCESSES, CONTAINER_START, CONTAINER_RECEIVED, CONTAINER_SENT,
    NODE_CPU, NODE_LOAD, NODE_MEMORY_TOTAL, NODE_MEMORY_AVAILABLE, NODE_DISK_SIZE, NODE_DISK_AVAILABLE, NODE_INODES, NODE_INODES_FREE,
    INFO, CONNECTED, ENGINE, PODS, CONTAINERS, PRESSURE, IMAGES_COLLECTED, IMAGES_COLLECTED_BYTES, EVICTIONS, STATUS_WRITES,
    *PROCESS,
)  # fmt: skip
