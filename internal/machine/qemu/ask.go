package qemu

import (
	"context"
	"encoding/json"
	"net"
)

// Ask has a QEMU do one command by a socket that it was told to listen on, as a
// host may that attacks its machine. Machines of this package have none.
func Ask(ctx context.Context, socket, command string, arguments any) (json.RawMessage, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	m := startMonitor(conn, func() {})
	defer func() { _ = conn.Close(); <-m.gone }()
	if _, err := m.execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return m.execute(ctx, command, arguments)
}
