# Confidential machines: the launch measurement under SNP, MRTD with RTMR 1 and 2
# under TDX, and at Azure the vTPM's PCR 11 say which image runs.
package policy

import rego.v1

shown_by[name] contains submod[evidence].snp.measurement if some name, submod in input.submods

shown_by[name] contains concat(" ", [body.mr_td, body.rtmr_1, body.rtmr_2]) if {
	some name, submod in input.submods
	body := submod[evidence].tdx.quote.body
}

shown_by[name] contains submod[evidence][kind].tpm.pcr11 if {
	some name, submod in input.submods
	some kind in ["az-snp-vtpm", "az-tdx-vtpm"]
}

running contains name if {
	some name, _ in shown_by
	some shown in shown_by[name]
	data.images[shown].status == "trusted"
}

shown_images contains shown if shown := shown_by[_][_]
