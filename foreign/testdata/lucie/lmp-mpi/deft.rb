template( 'mpi/hello' ) do |template|
  template.template_type = 'note'
  template.extended_description = <<-DESCRIPTION
  Words that are no program: install( 'not-this' )
  DESCRIPTION
end
