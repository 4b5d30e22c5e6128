# Machines under Intel TDX that were launched with one of our images.
#
# input.claims   as Trustee's tdx verifier names them: quote.body, td_attributes,
#                tcb_status … (docs/formats/evidence.md)
#
# A trusted image says in its list tdx how it is launched:
# {mr_td, rtmrs: {"1": …, "2": …}, tcb_status: ["UpToDate"]}.
package policy

import rego.v1

kinds contains "tdx"

trusted contains "tdx" if {
	data.images[tdx_body("rtmr_2")].status == "trusted"
	some way in tdx_ways
	input.claims.tcb_status in tdx_statuses(way)
	input.claims.td_attributes.debug == false
}

tdx_statuses(way) := object.get(way, "tcb_status", ["UpToDate"])

tdx_body(name) := object.get(input.claims, ["quote", "body", name], "missing")

# RTMR 1 and 2 hold kernel, command line and initramfs: without them an image is
# not known. Others are asked where the reference values name them.
tdx_ways contains way if {
	some id in data.images[tdx_body("rtmr_2")].references
	some way in data.reference[id].tdx
	way.mr_td == tdx_body("mr_td")
	tdx_measured(way)
}

tdx_measured(way) if {
	every n in {"1", "2"} | object.keys(way.rtmrs) {
		way.rtmrs[n] == tdx_body(sprintf("rtmr_%s", [n]))
	}
}

shown_image := tdx_body("rtmr_2") if input.tee == "tdx"

# What is known and trusted no more says so by itself.
tdx_known if data.images[tdx_body("rtmr_2")].status != "trusted"

# — why not —

explanations contains sprintf("MRTD is %s with RTMR 1 %s and RTMR 2 %s, no trusted image has them", [tdx_body("mr_td"), tdx_body("rtmr_1"), tdx_body("rtmr_2")]) if {
	input.tee == "tdx"
	count(tdx_ways) == 0
	not tdx_known
}

explanations contains sprintf("the platform's TCB status is %v, must be %s", [object.get(input.claims, "tcb_status", "missing"), concat(" or ", sort(tdx_statuses(way)))]) if {
	input.tee == "tdx"
	some way in tdx_ways
	not input.claims.tcb_status in tdx_statuses(way)
}

explanations contains "the machine may be debugged by its host" if {
	input.tee == "tdx"
	not input.claims.td_attributes.debug == false
}

affirmed["tdx"] := {
	"instance-identity": 0,
	"configuration": 2, # a known and approved configuration
	"executables": 3, # only what MRTD and RTMRs cover
	"file-system": 0,
	"hardware": 2, # a genuine processor, in a state that will do
	"runtime-opaque": 2, # memory is encrypted and isolated from the host
	"storage-opaque": 0,
	"sourced-data": 0,
}
