package units

import (
	"fmt"
	"runtime"
	"strings"
)

// specifiers replaces %X as systemd.unit(5) says, for the units of a system.
func specifiers(text, unit string, h Host) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		if i == len(text) {
			return "", fmt.Errorf("a %% stands at the end: want %%%%")
		}
		value, err := specifier(text[i], unit, h)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

var fixed = map[byte]string{
	'%': "%", 't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc", 'T': "/tmp", 'V': "/var/tmp",
	'u': "root", 'U': "0", 'g': "root", 'G': "0", 'h': "/root", 's': "/bin/sh",
}

var architectures = map[string]string{"amd64": "x86-64", "arm64": "arm64"}

func specifier(c byte, unit string, h Host) (string, error) {
	if v, ok := fixed[c]; ok {
		return v, nil
	}
	template, instance := split(unit)
	prefix, _, _ := strings.Cut(strings.TrimSuffix(unit, kindOf(unit)), "@")
	switch c {
	case 'n':
		return unit, nil
	case 'N':
		return strings.TrimSuffix(unit, kindOf(unit)), nil
	case 'p':
		return prefix, nil
	case 'P':
		return unescape(prefix), nil
	case 'i':
		return instance, nil
	case 'I':
		return unescape(instance), nil
	case 'j', 'J':
		last := prefix[strings.LastIndexByte(prefix, '-')+1:]
		if c == 'J' {
			last = unescape(last)
		}
		return last, nil
	case 'f':
		if template == unit {
			return "/" + unescape(prefix), nil
		}
		return "/" + strings.TrimPrefix(unescape(instance), "/"), nil
	case 'H':
		return h.Name, nil
	case 'l':
		short, _, _ := strings.Cut(h.Name, ".")
		return short, nil
	case 'm':
		return h.MachineID, nil
	case 'b':
		return h.BootID, nil
	case 'v':
		return h.Kernel, nil
	case 'a':
		return architectures[runtime.GOARCH], nil
	}
	return "", fmt.Errorf("the specifier %%%c is outside the subset", c)
}

func kindOf(unit string) string { return unit[max(strings.LastIndexByte(unit, '.'), 0):] }

// unescape undoes systemd-escape(1): "-" was "/", and \xHH a byte.
func unescape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		var c byte
		switch {
		case name[i] == '-':
			b.WriteByte('/')
		case strings.HasPrefix(name[i:], `\x`) && len(name) >= i+4 && hexByte(name[i+2:i+4], &c):
			b.WriteByte(c)
			i += 3
		default:
			b.WriteByte(name[i])
		}
	}
	return b.String()
}

func hexByte(text string, c *byte) bool {
	n, err := fmt.Sscanf(text, "%02x", c)
	return err == nil && n == 1
}
