package probe

// luks reads the header of either version: section 2.1 of the LUKS2 On-Disk
// Format Specification.
func luks(d device) (*Found, error) {
	return lukAt(d, 0, "LUKS\xba\xbe")
}

// lukSecond finds the copy that version 2 keeps, when the first is gone.
func lukSecond(d device) (*Found, error) {
	for at := int64(16 << 10); at <= 4<<20; at *= 2 {
		if f, err := lukAt(d, at, "SKUL\xba\xbe"); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

func lukAt(d device, at int64, magic string) (*Found, error) {
	h, err := d.bytes(at, 512)
	if h == nil || string(h[:6]) != magic {
		return nil, err
	}
	f := &Found{Type: "crypto_LUKS", UUID: text(h[168:208]), container: true, marks: []mark{{at, 6}}}
	if be.Uint16(h[6:]) == 2 {
		if be.Uint64(h[256:]) != uint64(at) {
			return nil, nil
		}
		f.Label = text(h[24:72])
	}
	return f, nil
}

const mdMagic = 0xa92b4efc

// raid1 finds members of arrays with metadata 1.0 (at the end), 1.1 and 1.2:
// struct mdp_superblock_1 of linux/raid/md_p.h.
func raid1(d device) (*Found, error) {
	for _, at := range []int64{(d.size/512 - 16) &^ 7 * 512, 0, 4096} {
		sb, err := d.bytes(at, 256)
		if err != nil {
			return nil, err
		}
		if sb == nil || le.Uint32(sb) != mdMagic || le.Uint32(sb[4:]) != 1 || le.Uint64(sb[144:]) != uint64(at/512) {
			continue
		}
		return &Found{Type: "linux_raid_member", UUID: uuid(sb[16:32]), Label: text(sb[32:64]), container: true, marks: []mark{{at, 4}}}, nil
	}
	return nil, nil
}

// raid0 is metadata 0.90, of either byte order: struct mdp_superblock_s.
func raid0(d device) (*Found, error) {
	at := d.size&^(64<<10-1) - 64<<10
	sb, err := d.bytes(at, 256)
	if sb == nil || le.Uint32(sb) != mdMagic && be.Uint32(sb) != mdMagic {
		return nil, err
	}
	id := append(append([]byte{}, sb[20:24]...), sb[52:64]...)
	return &Found{Type: "linux_raid_member", UUID: uuid(id), container: true, marks: []mark{{at, 4}}}, nil
}
