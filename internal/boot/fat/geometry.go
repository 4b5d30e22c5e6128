package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A geometry is the volume's division into sectors.
type geometry struct {
	fat32       bool
	sectors     int64 // in all
	reserved    int64
	perFAT      int64
	rootSectors int64 // FAT16's fixed root folder
	perCluster  int64
}

func (g geometry) clusterSize() int64 { return g.perCluster * sector }
func (g geometry) clusters() int64    { return g.dataSectors() / g.perCluster }
func (g geometry) dataSectors() int64 {
	return g.sectors - g.reserved - 2*g.perFAT - g.rootSectors
}

// The numbers of clusters that make a volume FAT16, with room for those who
// count them slightly wrong: the FAT specification's "FAT Type Determination".
const (
	min16 = 4085 + 16
	max16 = 65525 - 16
	min32 = 65525 + 16
)

// small is up to where FAT16 is used.
const small = 256 << 20

func (v Volume) geometry(root *node) (geometry, error) {
	for _, perCluster := range []int64{8, 4, 2, 1} {
		g := geometry{perCluster: perCluster, reserved: 1, rootSectors: 32}
		if need := g.need(root); v.Size > small || (v.Size == 0 && need*g.clusterSize() > small) {
			g = geometry{fat32: true, perCluster: perCluster, reserved: 32}
		}
		if max := g.rootSectors * sector / entrySize; !g.fat32 && root.entries() > max {
			return g, fmt.Errorf("%d directory entries in the root folder, at most %d fit", root.entries(), max)
		}
		fits, err := g.fit(v.Size/sector, g.need(root))
		if err != nil {
			return g, err
		}
		if fits {
			return g, nil
		}
	}
	return geometry{}, fmt.Errorf("%d bytes are too few for a FAT16 volume", v.Size)
}

// fit sets the sizes for the wanted sectors (0: as few as need be). It
// reports false when only smaller clusters would make it the right FAT type.
func (g *geometry) fit(sectors, need int64) (bool, error) {
	least, most := int64(min16), int64(max16)
	if g.fat32 {
		least, most = min32, 1<<28-16
	}
	g.sectors = sectors
	if sectors == 0 {
		g.sectors = g.overhead(max(need, least)) + max(need, least)*g.perCluster
	}
	g.perFAT = g.tableSectors(g.sectors / g.perCluster)
	have := g.clusters()
	if have < least && g.perCluster > 1 {
		return false, nil
	}
	if have < need {
		return false, fmt.Errorf("%d bytes are too few: the files need %d clusters of %d, there are %d",
			g.sectors*sector, need, g.clusterSize(), have)
	}
	if have > most {
		return false, fmt.Errorf("%d bytes are too many", g.sectors*sector)
	}
	return have >= least, nil
}

func (g *geometry) overhead(clusters int64) int64 {
	// Half a cluster's worth more, because perFAT counts all sectors as data.
	return g.reserved + g.rootSectors + 2*g.tableSectors(clusters+clusters/100+64) + g.perCluster
}

func (g *geometry) tableSectors(clusters int64) int64 {
	width := int64(2)
	if g.fat32 {
		width = 4
	}
	return ((clusters+2)*width + sector - 1) / sector
}

// need counts the clusters of everything under root.
func (g geometry) need(root *node) int64 {
	var sum int64
	for _, n := range root.all() {
		if n != root || g.fat32 {
			sum += g.clustersOf(n)
		}
	}
	return sum
}

func (g geometry) clustersOf(n *node) int64 {
	size := n.size
	if n.dir {
		size = n.entries() * entrySize
	}
	return (size + g.clusterSize() - 1) / g.clusterSize()
}

// place gives everything its clusters, in the order of the result.
func (g geometry) place(root *node) []*node {
	var placed []*node
	next := int64(2)
	for _, n := range root.all() {
		if n == root && !g.fat32 {
			continue
		}
		n.clusters = g.clustersOf(n)
		if n.clusters > 0 {
			n.first = next
		}
		next += n.clusters
		placed = append(placed, n)
	}
	return placed
}

// table is one copy of the file allocation table.
func (g geometry) table(chains []*node) []byte {
	b := make([]byte, g.perFAT*sector)
	put := func(cluster, value int64) {
		if g.fat32 {
			binary.LittleEndian.PutUint32(b[cluster*4:], uint32(value)&0x0fffffff)
		} else {
			binary.LittleEndian.PutUint16(b[cluster*2:], uint16(value))
		}
	}
	const end = -1
	put(0, -8) // the media byte, 0xf8, with ones before it
	put(1, end)
	for _, n := range chains {
		for i := range n.clusters {
			put(n.first+i, n.first+i+1)
		}
		if n.clusters > 0 {
			put(n.first+n.clusters-1, end)
		}
	}
	return b
}

// bootRegion is everything before the first table.
func (g geometry) bootRegion(v Volume) []byte {
	b := make([]byte, g.reserved*sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x3c\x90HOLDFAST")
	le.PutUint16(b[11:], sector)
	b[13] = byte(g.perCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = 2
	le.PutUint16(b[17:], uint16(g.rootSectors*sector/entrySize))
	b[21] = 0xf8
	le.PutUint16(b[24:], 32)
	le.PutUint16(b[26:], 64)
	if g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	extended := b[36:]
	if g.fat32 {
		g.fat32Fields(b)
		extended = b[64:]
	} else {
		le.PutUint16(b[22:], uint16(g.perFAT))
	}
	extended[0], extended[2] = 0x80, 0x29
	le.PutUint32(extended[3:], v.ID)
	label := strings.ToUpper(v.Label)
	if label == "" {
		label = "NO NAME"
	}
	copy(extended[7:], pad11(label))
	copy(extended[18:], map[bool]string{false: "FAT16   ", true: "FAT32   "}[g.fat32])
	b[510], b[511] = 0x55, 0xaa
	if g.fat32 {
		g.fat32Extras(b)
	}
	return b
}

func (g geometry) fat32Fields(b []byte) {
	b[1] = 0x58
	binary.LittleEndian.PutUint32(b[36:], uint32(g.perFAT))
	binary.LittleEndian.PutUint32(b[44:], 2) // the root folder's cluster
	binary.LittleEndian.PutUint16(b[48:], 1) // FSInfo
	binary.LittleEndian.PutUint16(b[50:], 6) // backup
}

// fat32Extras adds FSInfo, with nothing known of free clusters, and the backup.
func (g geometry) fat32Extras(b []byte) {
	info := b[sector : 2*sector]
	copy(info, "RRaA")
	copy(info[484:], "rrAa\xff\xff\xff\xff\xff\xff\xff\xff")
	info[510], info[511] = 0x55, 0xaa
	copy(b[6*sector:], b[:2*sector])
}
