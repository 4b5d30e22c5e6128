package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// kernelArguments compares with the running kernel's; what a boot loader has
// only the machine's own helper knows.
func (p *Plan) kernelArguments(c types.Config, line string) {
	words := strings.Fields(line)
	judge := func(list []types.KernelArgument, name string, there Action, absent Action) {
		for i, a := range list {
			change := Change{Kind: "kernel argument", Name: string(a), Field: fmt.Sprintf("$.kernelArguments.%s[%d]", name, i)}
			switch has := slices.Contains(words, string(a)); {
			case line == "":
				change.Action, change.Why = Unknown, "the machine's own helper decides"
			case has:
				change.Action = there
			default:
				change.Action = absent
			}
			p.add(change)
		}
	}
	judge(c.KernelArguments.ShouldExist, "shouldExist", Keep, Create)
	judge(c.KernelArguments.ShouldNotExist, "shouldNotExist", Delete, Keep)
}
