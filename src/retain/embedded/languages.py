"""Languages of ``udhr-<language>``, and the file of each in ``gflanguages``.

Offered is every language with a two-letter code and at least 600 distinct characters of sample
text in its usual script. German, Greek and Portuguese, among others, fall short: their files
repeat one sentence.
"""

_STEMS = """
aa_Latn ab_Cyrl af_Latn am_Ethi ar_Arab ay_Latn az_Latn be_Cyrl bg_Cyrl bi_Latn bm_Latn
bn_Beng bo_Tibt br_Latn bs_Latn ca_Latn ch_Latn co_Latn cs_Latn cy_Latn da_Latn dv_Thaa
dz_Tibt ee_Latn en_Latn eo_Latn es_Latn et_Latn eu_Latn fa_Arab ff_Latn fi_Latn fj_Latn
fo_Latn fr_Latn fy_Latn ga_Latn gd_Latn gl_Latn gn_Latn gu_Gujr gv_Latn he_Hebr hi_Deva
hr_Latn ht_Latn hu_Latn hy_Armn ia_Latn id_Latn ig_Latn ii_Yiii is_Latn it_Latn iu_Cans
ja_Jpan jv_Latn ka_Geor kg_Latn kk_Cyrl kl_Latn km_Khmr kn_Knda ko_Kore kr_Latn ku_Latn
ky_Cyrl la_Latn lb_Latn lg_Latn ln_Latn lo_Laoo lt_Latn lv_Latn mg_Latn mh_Latn mi_Latn
mk_Cyrl ml_Mlym mn_Cyrl mr_Deva mt_Latn my_Mymr nb_Latn ne_Deva ng_Latn nl_Latn nn_Latn
nr_Latn nv_Latn ny_Latn oc_Latn om_Latn os_Cyrl pa_Guru pl_Latn ps_Arab qu_Latn rm_Latn
rn_Latn ro_Latn ru_Cyrl rw_Latn sa_Deva sc_Latn se_Latn sg_Latn si_Sinh sk_Latn sl_Latn
sm_Latn sn_Latn so_Latn sr_Cyrl ss_Latn st_Latn su_Latn sv_Latn sw_Latn ta_Taml te_Telu
tg_Cyrl th_Thai ti_Ethi tk_Latn tn_Latn to_Latn tr_Latn ts_Latn tt_Cyrl ty_Latn ug_Arab
uk_Cyrl ur_Arab uz_Latn ve_Latn vi_Latn wa_Latn wo_Latn xh_Latn yi_Hebr yo_Latn za_Latn
zh_Hans zu_Latn
"""

LANGUAGES = tuple(_STEMS.split())
"""File names without their ending: language and script."""
