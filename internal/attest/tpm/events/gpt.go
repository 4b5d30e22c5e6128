package events

// A PartitionTable is that of the disk that was booted (UEFI 2.10, 5.3).
type PartitionTable struct {
	Disk       string      `json:"disk"`
	Partitions []Partition `json:"partitions"`
}

// A Partition is one of a PartitionTable.
type Partition struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

const (
	maxPartitions = 128
	gptHeader     = 92
	gptEntry      = 128
)

// readGPT reads a UEFI_GPT_DATA (profile, 10.2.5): the header, a count, and the
// entries in use. It is nil for anything else.
func readGPT(data []byte) *PartitionTable {
	r := &reader{data: data}
	if string(r.bytes(8)) != "EFI PART" {
		return nil
	}
	r.bytes(48) // revision, sizes, checksums, blocks: up to the disk's GUID
	table := &PartitionTable{Disk: r.guid().String(), Partitions: []Partition{}}
	r.bytes(gptHeader - 8 - 48 - 16)
	n := r.uint64()
	if r.err != nil || n > maxPartitions || uint64(len(r.data)) < n*gptEntry {
		return nil
	}
	for range n {
		kind, id := r.guid(), r.guid()
		r.bytes(24) // first and last block, attributes
		table.Partitions = append(table.Partitions, Partition{kind.String(), id.String(), printable(UTF16(r.bytes(72)))})
	}
	return table
}
